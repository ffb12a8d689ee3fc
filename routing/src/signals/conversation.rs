//! `conversation`: the shape of the message history.

use pintle_config::{ConversationRule, Profile};

use super::predicate::Predicate;
use super::{Compiler, EvidenceTable, SignalKind};
use crate::evidence::Evidence;
use crate::facts::Facts;
use crate::ids::SignalId;

#[derive(Debug)]
pub(super) struct Conversation {
    rules: Vec<Rule>,
    profile: Profile,
}

#[derive(Debug)]
struct Rule {
    id: SignalId,
    source: Source,
    test: Test,
}

#[derive(Debug, Clone, Copy)]
enum Test {
    Exists,
    Always,
    Predicate(Predicate),
}

#[derive(Debug, Clone, Copy)]
enum Source {
    AllMessages,
    User,
    Assistant,
    System,
    Developer,
    Tool,
    NonUser,
    ToolDefinition,
    AssistantToolCall,
    AssistantToolCycle,
}

impl Source {
    fn parse(kind: &str, role: &str) -> Option<Self> {
        Some(match (kind, role) {
            ("message", "") => Self::AllMessages,
            ("message", "user") => Self::User,
            ("message", "assistant") => Self::Assistant,
            ("message", "system") => Self::System,
            ("message", "developer") => Self::Developer,
            ("message", "tool") => Self::Tool,
            ("message", "non_user") => Self::NonUser,
            ("tool_definition", _) => Self::ToolDefinition,
            ("assistant_tool_call", _) => Self::AssistantToolCall,
            ("assistant_tool_cycle", _) => Self::AssistantToolCycle,
            _ => return None,
        })
    }

    fn count(self, facts: &Facts<'_>, profile: Profile) -> u32 {
        let (messages, tools) = (&facts.messages, &facts.tools);
        match self {
            Self::AllMessages => messages.total(),
            Self::User => messages.user,
            Self::Assistant => messages.assistant,
            Self::System => messages.system,
            // v0.3.0 knows only whether there is one.
            Self::Developer if profile == Profile::Compat => messages.developer.min(1),
            Self::Developer => messages.developer,
            Self::Tool => messages.tool,
            Self::NonUser => messages.total() - messages.user,
            Self::ToolDefinition => tools.definitions,
            Self::AssistantToolCall => tools.calls,
            Self::AssistantToolCycle => tools.results,
        }
    }
}

impl Conversation {
    pub(super) fn compile(rules: &[ConversationRule], c: &mut Compiler<'_>) -> Self {
        let mut compiled = Vec::with_capacity(rules.len());
        for rule in rules {
            let id = c.names.declare(SignalKind::Conversation, &rule.name);
            let source = &rule.feature.source;
            let Some(source) = Source::parse(&source.kind, &source.role) else {
                let at = format!("routing.signals.conversation[{:?}].feature.source", rule.name);
                c.error(at, format!("unknown source type {:?} with role {:?}", source.kind, source.role));
                continue;
            };
            let predicate = rule.predicate.as_ref().map(Predicate::from).filter(|p| !p.is_empty());
            let test = match (rule.feature.kind.as_str(), predicate) {
                ("exists", _) => Test::Exists,
                (_, Some(predicate)) => Test::Predicate(predicate),
                (_, None) => Test::Always,
            };
            compiled.push(Rule { id, source, test });
        }
        Self { rules: compiled, profile: c.profile }
    }

    pub(super) fn evaluate(&self, facts: &Facts<'_>, out: &mut EvidenceTable) {
        for rule in &self.rules {
            let count = f64::from(rule.source.count(facts, self.profile));
            let holds = match rule.test {
                Test::Exists => count > 0.0,
                Test::Always => true,
                Test::Predicate(predicate) => predicate.holds(count),
            };
            out[rule.id.index()] = Evidence::scored(holds, 1.0, count);
        }
    }
}
