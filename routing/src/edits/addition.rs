//! Tools out of a database that a request gets beside its own (`tool_selection`, mode `add`), and which of them.
//!
//! Ranking is v0.3's: those similar enough, by their similarity alone or with `advanced_filtering` by a weighted sum
//! of what they have in common with the request.

use std::collections::HashSet;

use pintle_config::{ToolsIntegration, Value};

/// Tools that are added, if nobody says.
const DEFAULT_TOP_K: usize = 3;
/// A pool without a size holds so many times what is added, and so many at least.
const POOL_FACTOR: usize = 5;
const LEAST_POOL: usize = 20;
/// Most tools that are added to one request.
pub const MAX_ADDED: usize = 128;

/// How tools are chosen from a database.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolAddition {
    /// The file, as it is configured.
    pub database: String,
    /// So many are added at most.
    pub top_k: usize,
    /// Least similarity to the request, a cosine.
    pub threshold: f64,
    /// Looked at beside similarity.
    pub filtering: Option<ToolFiltering>,
}

/// `advanced_filtering`, where it is switched on.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ToolFiltering {
    /// The most similar so many are looked at.
    pub pool: usize,
    /// Words in common with the request that a tool needs.
    pub least_overlap: usize,
    /// Least weighted sum.
    pub least_score: f64,
    /// Of similarity, words, tags, name and category; all zero is no score at all.
    pub weights: [f64; 5],
    /// Only tools of the request's category, where it has one of which there are tools.
    pub same_category: bool,
    /// Least confidence of the decision for which its category counts as a filter.
    pub category_confidence: Option<f64>,
    /// Names in lower case; empty admits all.
    pub allow: Vec<String>,
    /// Names in lower case.
    pub block: Vec<String>,
}

/// A tool that may be added.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// The function's name.
    pub name: &'a str,
    /// What the database says of it.
    pub description: &'a str,
    /// Its category; empty for none.
    pub category: &'a str,
    /// Its tags.
    pub tags: &'a [String],
    /// Cosine of description and request; `None` if it was not measured.
    pub similarity: Option<f64>,
}

/// What is known of the request.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// What it asks.
    pub text: &'a str,
    /// Its category; empty for none.
    pub category: &'a str,
    /// The decision's confidence.
    pub confidence: f64,
}

impl ToolAddition {
    /// Reads a plugin's payload over `global.integrations.tools`. `floor` is the threshold where neither has one.
    /// `None` where there is no database: the plugin names none and the global one is off.
    pub(crate) fn of(payload: &Value, global: &ToolsIntegration, floor: f64) -> Option<Self> {
        let own = payload.get("tools_db_path").and_then(Value::as_str).map_or("", str::trim);
        let database = if own.is_empty() { global.tools_db_path.trim() } else { own };
        if database.is_empty() || (own.is_empty() && !global.enabled) {
            return None;
        }
        let positive = |number: i64| usize::try_from(number).ok().filter(|number| *number > 0);
        let top_k = payload.get("top_k").and_then(Value::as_i64).and_then(positive);
        let top_k = top_k.or(positive(global.top_k)).unwrap_or(DEFAULT_TOP_K).min(MAX_ADDED);
        let threshold = payload.get("similarity_threshold").and_then(Value::as_f64);
        let filtering = match payload.get("advanced_filtering") {
            Some(own) => ToolFiltering::of_payload(own, top_k),
            None => ToolFiltering::of_global(global, top_k),
        };
        Some(Self {
            database: database.to_owned(),
            top_k,
            threshold: threshold.or(global.similarity_threshold.map(f64::from)).unwrap_or(floor),
            filtering,
        })
    }

    /// Positions of the tools that are added, best first.
    pub fn choose(&self, request: &Request<'_>, candidates: &[Candidate<'_>]) -> Vec<usize> {
        let mut ranked: Vec<(usize, f64)> = (0..candidates.len())
            .filter_map(|at| Some((at, candidates[at].similarity?)))
            .filter(|(_, similarity)| *similarity >= self.threshold)
            .collect();
        // Best first; by name where two are as good.
        let by = |a: &(usize, f64), b: &(usize, f64)| {
            b.1.total_cmp(&a.1).then_with(|| candidates[a.0].name.cmp(candidates[b.0].name))
        };
        ranked.sort_by(by);
        if let Some(filtering) = &self.filtering {
            ranked.truncate(filtering.pool);
            ranked.retain(|(at, _)| filtering.admits(candidates[*at].name));
            filtering.keep_category(request, candidates, &mut ranked);
            let words: HashSet<String> = tokens(request.text).collect();
            // The text's length counts with its repetitions.
            let length = tokens(request.text).count();
            // Stable: where two score the same, the more similar one stays before.
            let mut scored: Vec<(usize, f64)> = ranked
                .iter()
                .filter_map(|(at, _)| {
                    Some((*at, filtering.score(request, &words, length, &candidates[*at])?))
                })
                .collect();
            scored.sort_by(|a, b| b.1.total_cmp(&a.1));
            ranked = scored;
        }
        ranked.into_iter().take(self.top_k).map(|(at, _)| at).collect()
    }
}

impl ToolFiltering {
    fn of_payload(payload: &Value, top_k: usize) -> Option<Self> {
        let number = |key: &str| payload.get(key).and_then(Value::as_i64);
        let share = |key: &str| payload.get(key).and_then(Value::as_f64);
        let names = |key: &str| {
            let items = payload.get(key).map(Value::items).unwrap_or_default();
            lower(items.iter().filter_map(Value::as_str))
        };
        let weight =
            |key: &str| payload.get("weights").and_then(|weights| weights.get(key)).and_then(Value::as_f64);
        payload.get("enabled").and_then(Value::as_bool).filter(|on| *on)?;
        Some(Self {
            pool: pool(number("candidate_pool_size"), top_k),
            least_overlap: number("min_lexical_overlap")
                .map_or(0, |least| usize::try_from(least).unwrap_or(0)),
            least_score: share("min_combined_score").unwrap_or(0.0),
            weights: weights(["embed", "lexical", "tag", "name", "category"].map(weight)),
            same_category: payload.get("use_category_filter").and_then(Value::as_bool).unwrap_or(false),
            category_confidence: share("category_confidence_threshold"),
            allow: names("allow_tools"),
            block: names("block_tools"),
        })
    }

    fn of_global(global: &ToolsIntegration, top_k: usize) -> Option<Self> {
        let own = global.advanced_filtering.as_ref().filter(|own| own.enabled)?;
        let given = &own.weights;
        let given = [given.embed, given.lexical, given.tag, given.name, given.category];
        Some(Self {
            pool: pool(own.candidate_pool_size, top_k),
            least_overlap: own.min_lexical_overlap.map_or(0, |least| usize::try_from(least).unwrap_or(0)),
            least_score: own.min_combined_score.map_or(0.0, f64::from),
            weights: weights(given.map(|weight| weight.map(f64::from))),
            same_category: own.use_category_filter.unwrap_or(false),
            category_confidence: own.category_confidence_threshold.map(f64::from),
            allow: lower(own.allow_tools.iter().map(String::as_str)),
            block: lower(own.block_tools.iter().map(String::as_str)),
        })
    }

    fn admits(&self, name: &str) -> bool {
        let is = |listed: &String| listed.eq_ignore_ascii_case(name) || *listed == name.to_lowercase();
        (self.allow.is_empty() || self.allow.iter().any(is)) && !self.block.iter().any(is)
    }

    fn keep_category(
        &self,
        request: &Request<'_>,
        candidates: &[Candidate<'_>],
        ranked: &mut Vec<(usize, f64)>,
    ) {
        let sure = self.category_confidence.is_none_or(|least| request.confidence >= least);
        let same = |at: usize| matches(request.category, candidates[at].category);
        if self.same_category && sure && ranked.iter().any(|(at, _)| same(*at)) {
            ranked.retain(|(at, _)| same(*at));
        }
    }

    /// The weighted mean of what tool and request have in common; `None` for too little.
    fn score(
        &self,
        request: &Request<'_>,
        words: &HashSet<String>,
        length: usize,
        candidate: &Candidate<'_>,
    ) -> Option<f64> {
        let name: Vec<String> = tokens(candidate.name).collect();
        let tags: Vec<String> = candidate.tags.iter().flat_map(|tag| tokens(tag)).collect();
        let said: HashSet<String> = name
            .iter()
            .cloned()
            .chain(tokens(candidate.description))
            .chain(tokens(candidate.category))
            .filter(|token| words.contains(token))
            .collect();
        if said.len() < self.least_overlap {
            return None;
        }
        let share = |count: usize, of: usize| if of == 0 { 0.0 } else { count as f64 / of as f64 };
        let tagged: HashSet<&String> = tags.iter().filter(|token| words.contains(*token)).collect();
        let named = !name.is_empty() && name.iter().all(|token| words.contains(token));
        let parts = [
            candidate.similarity.unwrap_or(0.0).clamp(0.0, 1.0),
            share(said.len(), length),
            share(tagged.len(), tags.len()),
            f64::from(u8::from(named)),
            f64::from(u8::from(matches(request.category, candidate.category))),
        ];
        let sum: f64 = self.weights.iter().sum();
        let weighted: f64 = self.weights.iter().zip(parts).map(|(weight, part)| weight * part).sum();
        let score = if sum > 0.0 { weighted / sum } else { 0.0 };
        (score >= self.least_score).then_some(score)
    }
}

fn pool(given: Option<i64>, top_k: usize) -> usize {
    let size = given
        .map_or_else(|| LEAST_POOL.max(POOL_FACTOR * top_k), |given| usize::try_from(given).unwrap_or(0));
    size.max(top_k)
}

/// Similarity alone where nothing is weighted.
fn weights(given: [Option<f64>; 5]) -> [f64; 5] {
    if given.iter().all(Option::is_none) {
        return [1.0, 0.0, 0.0, 0.0, 0.0];
    }
    given.map(|weight| weight.unwrap_or(0.0))
}

fn lower<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    names.map(|name| name.trim().to_lowercase()).filter(|name| !name.is_empty()).collect()
}

/// The same category, which is one.
fn matches(a: &str, b: &str) -> bool {
    let (a, b) = (a.trim(), b.trim());
    !a.is_empty() && a.to_lowercase() == b.to_lowercase()
}

/// Runs of letters and digits, in lower case.
fn tokens(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|token| !token.is_empty()).map(str::to_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags() -> [Vec<String>; 2] {
        [vec!["weather".to_owned(), "rain forecast".to_owned()], Vec::new()]
    }

    fn candidates(tags: &[Vec<String>; 2]) -> [Candidate<'_>; 4] {
        let one = |name, description, category, tags, similarity| Candidate {
            name,
            description,
            category,
            tags,
            similarity,
        };
        [
            one("search", "Search the web.", "web", &tags[1], Some(0.5)),
            one("get_weather", "Weather of a city.", "Weather", &tags[0], Some(0.7)),
            one("send_email", "Send an email.", "office", &tags[1], Some(0.2)),
            one("unmeasured", "?", "web", &tags[1], None),
        ]
    }

    const REQUEST: Request<'_> =
        Request { text: "Get weather: weather in Paris?", category: "weather ", confidence: 0.6 };

    fn chosen(addition: &ToolAddition) -> Vec<&'static str> {
        let tags = tags();
        let names = ["search", "get_weather", "send_email", "unmeasured"];
        addition.choose(&REQUEST, &candidates(&tags)).into_iter().map(|at| names[at]).collect()
    }

    fn plain(top_k: usize, threshold: f64) -> ToolAddition {
        ToolAddition { database: "d".into(), top_k, threshold, filtering: None }
    }

    fn filtered(filtering: ToolFiltering) -> Vec<&'static str> {
        chosen(&ToolAddition { filtering: Some(ToolFiltering { pool: 20, ..filtering }), ..plain(9, 0.1) })
    }

    #[test]
    fn the_most_similar_ones_above_the_threshold_are_chosen_and_none_that_was_not_measured() {
        assert_eq!(chosen(&plain(9, 0.0)), ["get_weather", "search", "send_email"]);
        assert_eq!(chosen(&plain(9, 0.5)), ["get_weather", "search"]);
        assert_eq!(chosen(&plain(1, 0.0)), ["get_weather"]);
        assert!(chosen(&plain(9, 0.9)).is_empty());
    }

    #[test]
    fn names_and_categories_filter() {
        let embed = [1.0, 0.0, 0.0, 0.0, 0.0];
        let names = |allow: &[&str], block: &[&str]| {
            let list = |names: &[&str]| lower(names.iter().copied());
            filtered(ToolFiltering {
                weights: embed,
                allow: list(allow),
                block: list(block),
                ..Default::default()
            })
        };
        assert_eq!(names(&["SEARCH", " send_email"], &[]), ["search", "send_email"]);
        assert_eq!(names(&[], &["Search"]), ["get_weather", "send_email"]);
        let category = |category_confidence| {
            let same_category = true;
            filtered(ToolFiltering {
                weights: embed,
                same_category,
                category_confidence,
                ..Default::default()
            })
        };
        assert_eq!(category(None), ["get_weather"]);
        assert_eq!(category(Some(0.6)), ["get_weather"]);
        assert_eq!(category(Some(0.7)).len(), 3, "the decision is not sure enough");
    }

    #[test]
    fn what_counts_beside_similarity_is_weighted() {
        let scores = |weights: [f64; 5], least_score: f64| {
            filtered(ToolFiltering { weights, least_score, ..Default::default() })
        };
        // Five words asked, two of them (each once) in name, description and category.
        assert_eq!(scores([0.0, 1.0, 0.0, 0.0, 0.0], 0.4), ["get_weather"]);
        assert!(scores([0.0, 1.0, 0.0, 0.0, 0.0], 0.41).is_empty());
        // One of three words of its tags.
        assert_eq!(scores([0.0, 0.0, 1.0, 0.0, 0.0], 0.33), ["get_weather"]);
        assert!(scores([0.0, 0.0, 1.0, 0.0, 0.0], 0.34).is_empty());
        assert_eq!(scores([0.0, 0.0, 0.0, 1.0, 0.0], 1.0), ["get_weather"]);
        assert_eq!(scores([0.0, 0.0, 0.0, 0.0, 1.0], 1.0), ["get_weather"]);
        // (0.7 + 1) / 2 and 0.5 / 2.
        assert_eq!(scores([1.0, 0.0, 0.0, 1.0, 0.0], 0.25), ["get_weather", "search"]);
        assert_eq!(filtered(ToolFiltering { least_overlap: 1, ..Default::default() }), ["get_weather"]);
    }

    #[test]
    fn the_plugin_goes_before_what_is_global_and_without_a_database_nothing_is_added() {
        let global = ToolsIntegration::default();
        let payload = |text: &str| -> Value {
            let document = format!(
                "version: v0.3\nrouting: {{decisions: [{{name: d, plugins: [{{type: tool_selection, configuration: {text}}}]}}]}}\n"
            );
            let loaded = pintle_config::load(document.as_bytes(), "t", pintle_config::Profile::Pintle);
            let config = loaded.config.expect("a configuration");
            config.routing.decisions[0].plugins[0].configuration.clone().expect("a payload")
        };
        assert_eq!(ToolAddition::of(&payload("{enabled: true}"), &global, 0.5), None);
        let on =
            ToolsIntegration { enabled: true, top_k: 7, similarity_threshold: Some(0.25), ..global.clone() };
        let read = ToolAddition::of(&payload("{enabled: true}"), &on, 0.5).expect("global");
        let wanted = ToolAddition { database: "config/tools_db.json".into(), ..plain(7, 0.25) };
        assert_eq!(read, wanted);
        let own = "{tools_db_path: own.json, top_k: 2, similarity_threshold: 0.75, \
                   advanced_filtering: {enabled: true, weights: {name: 0.5}, allow_tools: [A]}}";
        let read = ToolAddition::of(&payload(own), &global, 0.5).expect("its own");
        let filtering = read.filtering.clone().expect("on");
        assert_eq!((read.database.as_str(), read.top_k, read.threshold), ("own.json", 2, 0.75));
        assert_eq!(
            (filtering.pool, filtering.weights, filtering.allow),
            (20, [0.0, 0.0, 0.0, 0.5, 0.0], vec!["a".into()])
        );
        let huge = ToolAddition::of(&payload("{tools_db_path: own.json, top_k: 999999}"), &global, 0.5);
        assert_eq!(huge.map(|huge| (huge.top_k, huge.threshold)), Some((MAX_ADDED, 0.5)));
    }
}
