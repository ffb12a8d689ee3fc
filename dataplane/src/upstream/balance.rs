//! Which backend of a model serves a request.

use super::backend::{Backend, ModelBackends};

/// Smooth weighted round robin over one model's backends, one state per worker.
///
/// Each pick adds every backend's weight to its account and takes the whole sum from the richest, so that
/// weights 5:1:1 give a, a, b, a, c, a, a and not five in a row.
#[derive(Debug, Default)]
pub struct Balancer {
    accounts: Vec<Vec<i64>>,
    prefers_near: bool,
}

/// What one unit of a configured weight counts, so that a fraction of it can be told.
const WEIGHT: i64 = 1024;
/// Differences of distance that are small beside this do not matter: a model takes far longer to answer.
const NEARBY_US: i64 = 1_000;
/// A backend keeps at least one part of this many of its weight however far it is, so that its distance stays known.
const FARTHEST: i64 = 16;

/// What a backend's weight counts when it is at `distance_us` and the nearest one at `nearest_us`. Unknown (0)
/// counts as near, so that it gets to be known.
fn near_weight(weight: i64, distance_us: u32, nearest_us: u32) -> i64 {
    if distance_us == 0 {
        return weight * WEIGHT;
    }
    let (own, nearest) = (i64::from(distance_us) + NEARBY_US, i64::from(nearest_us) + NEARBY_US);
    (weight * WEIGHT * nearest / own).max(weight * WEIGHT / FARTHEST)
}

impl Balancer {
    /// Forgets everything: the policy changed, and with it what the indexes mean. `prefers_near`: a backend's share
    /// is its weight, lessened by its [distance](super::Wire::distance_us).
    pub fn reset(&mut self, prefers_near: bool) {
        self.accounts.clear();
        self.prefers_near = prefers_near;
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
        let candidates = || model.backends.iter().enumerate().filter(|(index, _)| eligible(*index));
        let distance = |backend: &Backend| backend.health.wire.distance_us();
        let nearest = match self.prefers_near {
            true => candidates().map(|(_, backend)| distance(backend)).filter(|us| *us != 0).min(),
            false => None,
        };
        let mut total = 0;
        let mut best: Option<usize> = None;
        for (index, backend) in candidates() {
            let weight = match nearest {
                Some(nearest) => near_weight(backend.spec.weight.into(), distance(backend), nearest),
                None => i64::from(backend.spec.weight) * WEIGHT,
            };
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

    use pintle_routing::flow::KernelView;
    use pintle_routing::units::Micros;

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
    fn nearer_backends_get_more_where_that_is_wanted() {
        let model = model(&[1, 1, 2]);
        let see = |index: usize, us: u64| {
            let view = KernelView { srtt_us: Micros(us), min_rtt_us: Micros(us), ..KernelView::default() };
            model.backends[index].health.wire.observe(&view, 0);
        };
        let shares = |balancer: &mut Balancer| {
            let mut shares = [0; 3];
            for _ in 0..1000 {
                shares[balancer.pick(0, &model, None, &[], 0).unwrap()] += 1;
            }
            shares
        };
        let mut balancer = Balancer::default();
        see(0, 3_000);
        see(1, 7_000);
        assert_eq!(shares(&mut balancer), [250, 250, 500], "not wanted");
        balancer.reset(true);
        // 1 and 4/8 of the weight; the third is not known yet and counts as near.
        let [near, far, unknown] = shares(&mut balancer);
        assert!((283..=288).contains(&near) && (140..=145).contains(&far), "{near} {far} {unknown}");
        see(2, 3_000);
        assert_eq!(shares(&mut balancer)[1], far);
        // A session's backend is kept wherever it is.
        assert_eq!(balancer.pick(0, &model, Some(1), &[], 0), Some(1));
        // A fraction of a millisecond is no distance; the other side of the earth still gets its sixteenth.
        assert!(near_weight(1, 400, 100) > WEIGHT * 3 / 4);
        assert_eq!(near_weight(1, 300_000, 100), WEIGHT / FARTHEST);
        assert_eq!(near_weight(3, 0, 100), 3 * WEIGHT);
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
