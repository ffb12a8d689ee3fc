//! `global.pintle.workers`: a count, a list of cores, or all.

use crate::node::{Kind, Node, Scalar};
use crate::shape::{Contract, Custom, Shape};
use crate::value::Value;

/// Highest core number and count accepted.
const MAX_CORES: i64 = 4096;

/// Which cores carry data-plane threads.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Workers {
    /// One per core this process may use.
    #[default]
    All,
    /// This many, on the first cores this process may use.
    Count(u16),
    /// One on each of these cores.
    Cores(Vec<u16>),
}

static SHAPE: Custom = Custom {
    name: "count, list of cores, or `all`",
    check: |node| parse(node).map(|_| ()),
    json_schema: r#"{"anyOf":[{"type":"integer","minimum":1,"maximum":4096},{"const":"all"},{"type":"array","minItems":1,"items":{"type":"integer","minimum":0,"maximum":4095}}]}"#,
};

fn parse(node: &Node) -> Result<Workers, String> {
    let core = |node: &Node, least: i64| match node.scalar() {
        Some(Scalar::Int(value)) if (least..MAX_CORES + least).contains(&value) => Ok(value as u16),
        _ => Err(format!("expected a whole number from {least} to {}", MAX_CORES + least - 1)),
    };
    match &node.kind {
        Kind::Seq(items) if items.is_empty() => Err("expected at least one core".into()),
        Kind::Seq(items) => {
            let mut cores = items.iter().map(|item| core(item, 0)).collect::<Result<Vec<_>, _>>()?;
            let named = cores.len();
            cores.sort_unstable();
            cores.dedup();
            if cores.len() != named {
                return Err("a core is named twice".into());
            }
            Ok(Workers::Cores(cores))
        }
        Kind::Map(_) => Err("expected a count, a list of cores, or `all`".into()),
        Kind::Scalar { .. } => match node.scalar() {
            Some(Scalar::Str("all")) | Some(Scalar::Null) => Ok(Workers::All),
            _ => core(node, 1).map(Workers::Count),
        },
    }
}

impl Contract for Workers {
    fn shape() -> Shape {
        Shape::Custom(&SHAPE)
    }

    fn read(&mut self, node: &Node) {
        if let Ok(workers) = parse(node) {
            *self = workers;
        }
    }

    fn export(&self) -> Value {
        match self {
            Self::All => Value::String("all".into()),
            Self::Count(count) => Value::Int(i64::from(*count)),
            Self::Cores(cores) => {
                Value::List(cores.iter().map(|core| Value::Int(i64::from(*core))).collect())
            }
        }
    }
}
