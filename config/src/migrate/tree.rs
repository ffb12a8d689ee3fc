//! Taking trees apart and putting them together.

use crate::node::{Entry, Kind, Node};

/// Sections of a canonical document in documented order.
const ORDER: &[&str] = &["version", "listeners", "providers", "routing", "global"];

pub(crate) trait Tree: Sized {
    fn map() -> Self;
    fn text_node(text: &str) -> Self;
    fn list(items: Vec<Self>) -> Self;
    /// Takes a member out.
    fn take(&mut self, key: &str) -> Option<Self>;
    /// Takes every member out.
    fn take_all(&mut self) -> Vec<(String, Self)>;
    /// Takes the items of a list out; anything else counts as a list of one.
    fn take_items(self) -> Vec<Self>;
    /// Writes a member, in place or at the end.
    fn set(&mut self, key: &str, value: Self);
    /// Writes a member unless it is there.
    fn set_default(&mut self, key: &str, value: Self);
    /// The member at a path of keys, made if absent.
    fn at(&mut self, path: &str) -> &mut Self;
    fn get_mut(&mut self, key: &str) -> Option<&mut Self>;
    fn items_mut(&mut self) -> &mut [Self];
    /// Fills in what is absent; what is present stays, and its rival is lost.
    fn merge_under(&mut self, other: Self, from: &str, lost: &mut Vec<(Self, String)>);
    /// Null, empty text, empty list or empty mapping.
    fn is_blank(&self) -> bool;
    fn leaves(&self, path: &str, visit: &mut dyn FnMut(&str, &Self));
    fn in_canonical_order(self) -> Self;
    /// A text member; empty when it is null or absent.
    fn str(&self, key: &str) -> &str;
}

impl Tree for Node {
    fn map() -> Self {
        Self { line: 0, column: 0, kind: Kind::Map(Vec::new()) }
    }

    fn text_node(text: &str) -> Self {
        Self { line: 0, column: 0, kind: Kind::Scalar { text: text.into(), plain: false } }
    }

    fn list(items: Vec<Self>) -> Self {
        Self { line: items.first().map_or(0, |item| item.line), column: 0, kind: Kind::Seq(items) }
    }

    fn take(&mut self, key: &str) -> Option<Self> {
        let Kind::Map(entries) = &mut self.kind else { return None };
        let at = entries.iter().position(|entry| entry.key.text() == Some(key))?;
        Some(entries.remove(at).value)
    }

    fn take_all(&mut self) -> Vec<(String, Self)> {
        let Kind::Map(entries) = &mut self.kind else { return Vec::new() };
        std::mem::take(entries)
            .into_iter()
            .map(|entry| (entry.key.text().unwrap_or_default().to_owned(), entry.value))
            .collect()
    }

    fn take_items(self) -> Vec<Self> {
        match self.kind {
            Kind::Seq(items) => items,
            _ if self.is_blank() => Vec::new(),
            _ => vec![self],
        }
    }

    fn set(&mut self, key: &str, value: Self) {
        match self.get_mut(key) {
            Some(present) => *present = value,
            None => {
                if !matches!(self.kind, Kind::Map(_)) {
                    self.kind = Kind::Map(Vec::new());
                }
                if let Kind::Map(entries) = &mut self.kind {
                    entries.push(Entry { key: Self::text_node(key), value });
                }
            }
        }
    }

    fn set_default(&mut self, key: &str, value: Self) {
        if self.get(key).is_none_or(Self::is_blank) {
            self.set(key, value);
        }
    }

    fn at(&mut self, path: &str) -> &mut Self {
        let mut node = self;
        for key in path.split('.').filter(|key| !key.is_empty()) {
            if node.get(key).is_none() {
                node.set(
                    key,
                    Self { line: 0, column: 0, kind: Kind::Scalar { text: "".into(), plain: true } },
                );
            }
            node = node.get_mut(key).expect("just made");
        }
        node
    }

    fn get_mut(&mut self, key: &str) -> Option<&mut Self> {
        match &mut self.kind {
            Kind::Map(entries) => {
                entries.iter_mut().find(|entry| entry.key.text() == Some(key)).map(|entry| &mut entry.value)
            }
            _ => None,
        }
    }

    fn items_mut(&mut self) -> &mut [Self] {
        match &mut self.kind {
            Kind::Seq(items) => items,
            _ => &mut [],
        }
    }

    fn merge_under(&mut self, mut other: Self, from: &str, lost: &mut Vec<(Self, String)>) {
        if self.is_blank() {
            *self = other;
            return;
        }
        if matches!((&self.kind, &other.kind), (Kind::Map(_), Kind::Map(_))) {
            if self.line == 0 {
                (self.line, self.column) = (other.line, other.column);
            }
            for (key, value) in other.take_all() {
                let path = format!("{from}.{key}");
                match self.get_mut(&key) {
                    Some(present) => present.merge_under(value, &path, lost),
                    None => self.set(&key, value),
                }
            }
        } else if !other.is_blank() {
            lost.push((other, from.to_owned()));
        }
    }

    fn is_blank(&self) -> bool {
        match &self.kind {
            Kind::Seq(items) => items.is_empty(),
            Kind::Map(entries) => entries.is_empty(),
            Kind::Scalar { text, plain } => text.is_empty() || *plain && self.is_null(),
        }
    }

    fn leaves(&self, path: &str, visit: &mut dyn FnMut(&str, &Self)) {
        match &self.kind {
            Kind::Map(entries) if !entries.is_empty() => {
                for entry in entries {
                    let key = entry.key.text().unwrap_or_default();
                    let path = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
                    entry.value.leaves(&path, visit);
                }
            }
            Kind::Seq(items) if items.iter().any(|item| item.scalar().is_none()) => {
                for (index, item) in items.iter().enumerate() {
                    item.leaves(&format!("{path}[{index}]"), visit);
                }
            }
            _ => visit(path, self),
        }
    }

    fn in_canonical_order(mut self) -> Self {
        let mut ordered = Self::map();
        for key in ORDER {
            if let Some(value) = self.take(key) {
                ordered.set(key, value);
            } else if *key == "version" {
                ordered.set(key, Self::text_node("v0.3"));
            }
        }
        if ordered.get("routing").is_none() {
            ordered.set("routing", Self::map());
        }
        ordered
    }

    fn str(&self, key: &str) -> &str {
        self.get(key).filter(|node| !node.is_null()).and_then(Self::text).unwrap_or_default()
    }
}
