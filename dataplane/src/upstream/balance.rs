//! Which backend of a model serves a request.

use super::backend::ModelBackends;

/// Smooth weighted round robin over one model's backends, one state per worker.
///
/// Each pick adds every backend's weight to its account and takes the whole sum from the richest, so that
/// weights 5:1:1 give a, a, b, a, c, a, a and not five in a row.
#[derive(Debug, Default)]
pub struct Balancer {
    accounts: Vec<Vec<i64>>,
}

impl Balancer {
    /// Forgets everything: the policy changed, and with it what the indexes mean.
    pub fn reset(&mut self) {
        self.accounts.clear();
    }

    /// Picks a backend of `model` (index `id`), not one of those in `tried`.
    ///
    /// A backend that is `preferred` (it holds the session's prefix cache) is taken while it is up. When all
    /// backends are down, the one that is due first by weight is tried all the same.
    pub fn pick(
        &mut self,
        id: usize,
        model: &ModelBackends,
        preferred: Option<usize>,
        tried: &[usize],
        now_ms: u64,
    ) -> Option<usize> {
        let untried = |index: usize| !tried.contains(&index);
        let up = |index: usize| model.backends[index].health.is_up(now_ms);
        if let Some(index) = preferred
            && index < model.backends.len()
            && untried(index)
            && up(index)
        {
            return Some(index);
        }
        if model.backends.len() == 1 {
            return untried(0).then_some(0);
        }
        let any_up = (0..model.backends.len()).any(|index| untried(index) && up(index));
        let eligible = |index: usize| untried(index) && (!any_up || up(index));
        if self.accounts.len() <= id {
            self.accounts.resize_with(id + 1, Vec::new);
        }
        let accounts = &mut self.accounts[id];
        accounts.resize(model.backends.len(), 0);
        let mut total = 0;
        let mut best: Option<usize> = None;
        for (index, backend) in model.backends.iter().enumerate().filter(|(index, _)| eligible(*index)) {
            let weight = i64::from(backend.spec.weight);
            total += weight;
            accounts[index] += weight;
            if best.is_none_or(|best| accounts[index] > accounts[best]) {
                best = Some(index);
            }
        }
        if let Some(best) = best {
            accounts[best] -= total;
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::upstream::backend::{BackendSpec, Health, Upstreams};

    fn model(weights: &[u32]) -> ModelBackends {
        let specs = weights
            .iter()
            .enumerate()
            .map(|(index, weight)| BackendSpec {
                name: format!("b{index}"),
                host: "127.0.0.1".into(),
                port: 1000 + index as u16,
                authority: String::new(),
                chat_path: Some(String::new()),
                responses_path: None,
                messages_path: None,
                weight: *weight,
                model_literal: Arc::from(&b"\"m\""[..]),
                lora_literals: Vec::new(),
                headers: Vec::new(),
                plain_effort: false,
                tls: None,
            })
            .collect();
        Upstreams::build(vec![("m".into(), specs)], Vec::new(), None).models.remove(0)
    }

    #[test]
    fn weights_are_shares_and_do_not_cluster() {
        let model = model(&[5, 1, 1]);
        let mut balancer = Balancer::default();
        let picks: Vec<_> = (0..7).map(|_| balancer.pick(0, &model, None, &[], 0).unwrap()).collect();
        assert_eq!(picks, [0, 0, 1, 0, 2, 0, 0]);
    }

    #[test]
    fn a_tripped_backend_rests_and_is_probed_afterwards() {
        let model = model(&[1, 1]);
        let mut balancer = Balancer::default();
        for _ in 0..Health::TRIP {
            model.backends[0].health.failed(100);
        }
        for _ in 0..4 {
            assert_eq!(balancer.pick(0, &model, Some(0), &[], 200), Some(1));
        }
        assert_eq!(balancer.pick(0, &model, Some(0), &[], 100 + Health::FIRST_REST_MS), Some(0));
    }

    #[test]
    fn all_down_is_no_reason_not_to_try() {
        let model = model(&[1, 1]);
        let mut balancer = Balancer::default();
        for backend in &model.backends {
            for _ in 0..Health::TRIP {
                backend.health.failed(100);
            }
        }
        let first = balancer.pick(0, &model, None, &[], 200).unwrap();
        let second = balancer.pick(0, &model, None, &[first], 200).unwrap();
        assert_ne!(first, second);
        assert_eq!(balancer.pick(0, &model, None, &[0, 1], 200), None);
    }
}
