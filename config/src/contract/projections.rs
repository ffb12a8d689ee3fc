//! `routing.projections`: values derived from signals.

use crate::shape::contract;

contract! {
    /// Values derived from signals.
    pub struct Projections {
        /// Groups of signals of which one wins.
        partitions: Vec<Partition>,
        /// Weighted sums.
        scores: Vec<Score>,
        /// Named bands of a score.
        mappings: Vec<Mapping>,
    }

    /// Signals of which one wins.
    pub struct Partition {
        /// Name.
        name: String,
        /// `exclusive` or `softmax_exclusive`.
        semantics: String,
        /// Above 0 for softmax.
        temperature: f64,
        /// Names of domains, or of embeddings.
        members: Vec<String>,
        /// Member that wins when nothing matched.
        default: String,
    }

    /// A weighted sum.
    pub struct Score {
        /// Name; unique.
        name: String,
        /// `weighted_sum`.
        method: String,
        /// What is summed.
        inputs: Vec<ScoreInput>,
    }

    /// One term of a score.
    pub struct ScoreInput {
        /// A condition type, `kb_metric` or `projection`.
        kind as "type": String,
        /// Name within that type.
        name: String,
        /// Knowledge base, for `kb_metric`.
        kb: String,
        /// Metric, for `kb_metric`.
        metric: String,
        /// Factor.
        weight: f64,
        /// `binary` (default for signals), `confidence`, `raw` or `score`.
        value_source: String,
        /// Value of a match; 0 counts as 1.
        r#match as "match": f64,
        /// Value of a miss.
        miss: f64,
    }

    /// Named bands of a score.
    pub struct Mapping {
        /// Name.
        name: String,
        /// Name of a score.
        source: String,
        /// `threshold_bands` (default: the first band that fits) or `multi_emit` (all that fit).
        method: String,
        /// How a confidence is derived from the distance to the bounds.
        calibration: Option<Calibration>,
        /// The bands.
        outputs: Vec<MappingOutput>,
    }

    /// How a confidence is derived.
    pub struct Calibration {
        /// `sigmoid_distance` or empty.
        method: String,
        /// Steepness; 0 counts as 12.
        slope: f64,
    }

    /// One band.
    pub struct MappingOutput {
        /// Name used by `projection` conditions; unique over all mappings.
        name: String,
        /// Less than.
        lt: Option<f64>,
        /// Less than or equal.
        lte: Option<f64>,
        /// Greater than.
        gt: Option<f64>,
        /// Greater than or equal.
        gte: Option<f64>,
    }
}
