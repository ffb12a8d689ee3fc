//! What the demonstration prints: one row per turn, and under it the reason.

use serde_json::Value;

/// One turn as shown.
#[derive(Debug, Default, Clone)]
pub(super) struct Row {
    pub(super) turn: usize,
    pub(super) what: String,
    pub(super) asked: String,
    pub(super) chosen: String,
    pub(super) phase: String,
    pub(super) decision: String,
    pub(super) action: String,
    pub(super) why: String,
    pub(super) cost_usd: Option<f64>,
    pub(super) flow: String,
    /// What went wrong, if something did.
    pub(super) error: Option<String>,
}

/// Widths of the columns, by the widest value that this session can show.
#[derive(Debug, Clone, Copy)]
pub(super) struct Widths {
    what: usize,
    model: usize,
}

impl Widths {
    pub(super) fn new(
        steps: impl Iterator<Item = &'static str>,
        models: impl Iterator<Item = usize>,
    ) -> Self {
        Self {
            what: steps.map(str::len).max().unwrap_or(0),
            model: models.max().unwrap_or(0).max("chosen".len()),
        }
    }

    /// The header line.
    pub(super) fn header(&self) -> String {
        self.line(["turn", "the agent ...", "asked", "chosen", "phase", "move", "USD", "flow id"])
    }

    /// A row's two or three lines.
    pub(super) fn row(&self, row: &Row) -> String {
        let turn = row.turn.to_string();
        let cost = row.cost_usd.map_or_else(|| "-".to_owned(), |usd| format!("{usd:.6}"));
        let cells = [&turn, &row.what, &row.asked, &row.chosen, &row.phase, &row.action, &cost, &row.flow];
        let mut text = self.line(cells.map(String::as_str));
        let mut note = Vec::new();
        if !row.decision.is_empty() {
            note.push(format!("decision {}", row.decision));
        }
        if !row.why.is_empty() {
            note.push(row.why.clone());
        }
        if !note.is_empty() {
            text.push_str(&format!("\n      {}", note.join(": ")));
        }
        if let Some(error) = &row.error {
            text.push_str(&format!("\n      FAILED: {error}"));
        }
        text
    }

    fn line(&self, cells: [&str; 8]) -> String {
        let [turn, what, asked, chosen, phase, action, cost, flow] = cells;
        let (what_width, model) = (self.what, self.model);
        let line = format!(
            "{turn:>4}  {what:<what_width$}  {asked:<5}  {chosen:<model$}  {phase:<14}  {action:<20}  {cost:>9}  {flow}"
        );
        line.trim_end().to_owned()
    }
}

/// Stayed, switched, held: the flow document's session action in words.
pub(super) fn action(value: &Value) -> String {
    let words = |key: &str| value[key].as_str().unwrap_or_default().replace('_', " ");
    match (words("kind"), words("why")) {
        (kind, _) if kind.is_empty() => "-".to_owned(),
        (kind, why) if why.is_empty() => kind,
        (kind, why) => format!("{kind}: {why}"),
    }
}
