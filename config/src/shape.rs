//! What a field may hold, and the macro that declares contract structs.

use std::collections::BTreeMap;

use crate::node::{Kind, Node, Scalar};
use crate::secrets::Secret;
use crate::value::Value;

/// A value that can be read from a document and written back.
pub(crate) trait Contract: Sized + Default {
    /// What a document may hold here.
    fn shape() -> Shape;

    /// What an explicit null leaves behind.
    fn zero() -> Self {
        Self::default()
    }

    /// Reads over the present value. Wrong types were reported before and leave it as it is.
    fn read(&mut self, node: &Node);

    /// The value as it would be written, secrets included.
    fn export(&self) -> Value;

    /// The value as it would be written to be read over a base.
    fn export_over(&self, _base: &Self) -> Value {
        self.export()
    }
}

/// What a field may hold.
#[derive(Clone, Copy)]
pub(crate) enum Shape {
    /// Boolean.
    Bool,
    /// Integer within bounds.
    Int {
        /// Least.
        min: i64,
        /// Greatest.
        max: i64,
    },
    /// Number.
    Float,
    /// Text.
    String,
    /// Text that is never shown.
    Secret,
    /// Anything.
    Any,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Checked by a function of its own.
    Custom(&'static Custom),
    /// List of items.
    List(fn() -> Shape),
    /// Mapping from free names.
    Map(fn() -> Shape),
    /// The same, or null for absent.
    Nullable(fn() -> Shape),
    /// Mapping with known keys.
    Struct(&'static Struct),
}

/// A shape with a function of its own.
pub(crate) struct Custom {
    /// What is expected, in words.
    pub(crate) name: &'static str,
    /// The check; an error says what is wrong.
    pub(crate) check: fn(&Node) -> Result<(), String>,
    /// Its JSON Schema.
    pub(crate) json_schema: &'static str,
}

/// A mapping with known keys.
pub(crate) struct Struct {
    /// Name of the type.
    pub(crate) name: &'static str,
    /// What it is.
    pub(crate) doc: &'static [&'static str],
    /// Its keys in documented order.
    pub(crate) fields: &'static [Field],
    /// Part of Pintle's own section: values are checked strictly.
    pub(crate) extension: bool,
}

/// A key of a [`Struct`].
pub(crate) struct Field {
    /// The YAML key.
    pub(crate) name: &'static str,
    /// What it may hold.
    pub(crate) shape: fn() -> Shape,
    /// What it is.
    pub(crate) doc: &'static [&'static str],
    /// Its value when absent.
    pub(crate) default: fn() -> Value,
    /// Bounds of an integer, tighter than its type's.
    pub(crate) range: Option<(i64, i64)>,
}

macro_rules! contract {
    (extension; $($rest:tt)*) => { $crate::shape::contract! { @each (true) $($rest)* } };
    (@each ($extension:expr)
        $(
            $(#[doc = $doc:literal])+
            pub struct $name:ident {
                $(
                    $(#[doc = $field_doc:literal])+
                    $field:ident $(as $key:literal)? : $ty:ty $(= $default:expr $(=> $range:expr)?)?
                ),* $(,)?
            }
        )+
    ) => {
        $(
            $(#[doc = $doc])+
            #[derive(Debug, Clone, PartialEq)]
            pub struct $name {
                $($(#[doc = $field_doc])+ pub $field: $ty,)*
            }

            impl Default for $name {
                fn default() -> Self {
                    Self { $($field: $crate::shape::or_default!($($default)?),)* }
                }
            }

            impl $crate::shape::Contract for $name {
                fn shape() -> $crate::shape::Shape {
                    static SHAPE: $crate::shape::Struct = $crate::shape::Struct {
                        name: stringify!($name),
                        doc: &[$($doc),+],
                        extension: $extension,
                        fields: &[$($crate::shape::Field {
                            name: $crate::shape::key!($field $($key)?),
                            shape: <$ty as $crate::shape::Contract>::shape,
                            doc: &[$($field_doc),+],
                            default: || $crate::shape::Contract::export(&$name::default().$field),
                            range: $crate::shape::range!($($($range)?)?),
                        }),*],
                    };
                    $crate::shape::Shape::Struct(&SHAPE)
                }

                fn zero() -> Self {
                    if $extension {
                        return Self::default();
                    }
                    Self { $($field: <$ty as $crate::shape::Contract>::zero(),)* }
                }

                fn read(&mut self, node: &$crate::node::Node) {
                    if node.is_null() {
                        *self = <Self as $crate::shape::Contract>::zero();
                        return;
                    }
                    for entry in node.entries() {
                        match entry.key.text() {
                            $(Some($crate::shape::key!($field $($key)?)) => {
                                $crate::shape::Contract::read(&mut self.$field, &entry.value);
                            })*
                            _ => {}
                        }
                    }
                }

                fn export(&self) -> $crate::value::Value {
                    $crate::shape::Contract::export_over(self, &Self::default())
                }

                fn export_over(&self, base: &Self) -> $crate::value::Value {
                    let mut entries = Vec::new();
                    $(if self.$field != base.$field {
                        entries.push((
                            $crate::shape::key!($field $($key)?).to_owned(),
                            $crate::shape::Contract::export_over(&self.$field, &base.$field),
                        ));
                    })*
                    $crate::value::Value::Map(entries)
                }
            }
        )+
    };
    ($($rest:tt)*) => { $crate::shape::contract! { @each (false) $($rest)* } };
}

macro_rules! or_default {
    () => {
        Default::default()
    };
    ($default:expr) => {
        $default
    };
}

macro_rules! key {
    ($field:ident) => {
        stringify!($field)
    };
    ($field:ident $key:literal) => {
        $key
    };
}

macro_rules! range {
    () => {
        None
    };
    ($range:expr) => {{
        const RANGE: std::ops::RangeInclusive<i64> = $range;
        Some((*RANGE.start(), *RANGE.end()))
    }};
}

macro_rules! choice {
    ($(
        $(#[doc = $doc:literal])+
        pub enum $name:ident {
            $($(#[doc = $variant_doc:literal])+ $(#[$default:ident])? $variant:ident = $text:literal),* $(,)?
        }
    )+) => {
        $(
            $(#[doc = $doc])+
            #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
            pub enum $name {
                $($(#[doc = $variant_doc])+ $(#[$default])? $variant,)*
            }

            impl $name {
                /// The word in the document.
                pub const fn as_str(self) -> &'static str {
                    match self {
                        $(Self::$variant => $text,)*
                    }
                }
            }

            impl $crate::shape::Contract for $name {
                fn shape() -> $crate::shape::Shape {
                    $crate::shape::Shape::Choice(&[$($text),*])
                }

                fn read(&mut self, node: &$crate::node::Node) {
                    match node.text() {
                        $(Some($text) => *self = Self::$variant,)*
                        _ => {}
                    }
                }

                fn export(&self) -> $crate::value::Value {
                    $crate::value::Value::String(self.as_str().to_owned())
                }
            }
        )+
    };
}

pub(crate) use {choice, contract, key, or_default, range};

impl Contract for bool {
    fn shape() -> Shape {
        Shape::Bool
    }

    fn read(&mut self, node: &Node) {
        match node.scalar() {
            Some(Scalar::Bool(value)) => *self = value,
            Some(Scalar::Null) => *self = false,
            _ => {}
        }
    }

    fn export(&self) -> Value {
        Value::Bool(*self)
    }
}

macro_rules! integers {
    ($($ty:ty),*) => {
        $(impl Contract for $ty {
            fn shape() -> Shape {
                let max = <$ty>::MAX as i128;
                Shape::Int {
                    min: <$ty>::MIN as i64,
                    max: if max > i64::MAX as i128 { i64::MAX } else { max as i64 },
                }
            }

            fn read(&mut self, node: &Node) {
                match node.scalar() {
                    Some(Scalar::Null) => *self = 0,
                    Some(scalar) => {
                        if let Some(value) = whole(scalar).and_then(|value| <$ty>::try_from(value).ok()) {
                            *self = value;
                        }
                    }
                    None => {}
                }
            }

            fn export(&self) -> Value {
                Value::Int(i64::try_from(*self).unwrap_or(i64::MAX))
            }
        })*
    };
}

integers!(i64, u64, u32, u16);

/// A number as an integer; fractions are cut off, as upstream does.
pub(crate) fn whole(scalar: Scalar<'_>) -> Option<i64> {
    match scalar {
        Scalar::Int(value) => Some(value),
        Scalar::Float(value) if value.abs() < 9.2e18 => Some(value as i64),
        _ => None,
    }
}

macro_rules! floats {
    ($($ty:ty),*) => {
        $(impl Contract for $ty {
            fn shape() -> Shape {
                Shape::Float
            }

            fn read(&mut self, node: &Node) {
                match node.scalar() {
                    Some(Scalar::Null) => *self = 0.0,
                    Some(Scalar::Int(value)) => *self = value as $ty,
                    Some(Scalar::Float(value)) => *self = value as $ty,
                    _ => {}
                }
            }

            fn export(&self) -> Value {
                // The shortest text that reads back as the same number, not the nearest double's digits.
                Value::Float(self.to_string().parse().unwrap_or(f64::from(*self)))
            }
        })*
    };
}

floats!(f64, f32);

impl Contract for String {
    fn shape() -> Shape {
        Shape::String
    }

    fn read(&mut self, node: &Node) {
        if node.is_null() {
            self.clear();
        } else if let Some(text) = node.text() {
            text.clone_into(self);
        }
    }

    fn export(&self) -> Value {
        Value::String(self.clone())
    }
}

impl Contract for Secret {
    fn shape() -> Shape {
        Shape::Secret
    }

    fn read(&mut self, node: &Node) {
        if node.is_null() {
            *self = Self::default();
        } else if let Some(text) = node.text() {
            *self = Self::new(text);
        }
    }

    fn export(&self) -> Value {
        Value::String(self.expose().to_owned())
    }
}

impl Contract for Value {
    fn shape() -> Shape {
        Shape::Any
    }

    fn read(&mut self, node: &Node) {
        *self = node.to_value();
    }

    fn export(&self) -> Value {
        self.clone()
    }
}

impl<T: Contract> Contract for Vec<T> {
    fn shape() -> Shape {
        Shape::List(T::shape)
    }

    fn read(&mut self, node: &Node) {
        let mut read = |item: &Node| {
            let mut value = T::default();
            value.read(item);
            self.push(value);
        };
        match &node.kind {
            Kind::Seq(items) => {
                items.iter().for_each(&mut read);
                let added = items.len();
                self.drain(..self.len() - added);
            }
            Kind::Scalar { .. } if node.is_null() => self.clear(),
            _ => {}
        }
    }

    fn export(&self) -> Value {
        Value::List(self.iter().map(Contract::export).collect())
    }
}

impl<T: Contract> Contract for BTreeMap<String, T> {
    fn shape() -> Shape {
        Shape::Map(T::shape)
    }

    fn read(&mut self, node: &Node) {
        if node.is_null() {
            self.clear();
        }
        for entry in node.entries() {
            if let Some(key) = entry.key.text() {
                let mut value = T::default();
                value.read(&entry.value);
                self.insert(key.to_owned(), value);
            }
        }
    }

    fn export(&self) -> Value {
        Value::Map(self.iter().map(|(key, value)| (key.clone(), value.export())).collect())
    }
}

impl<T: Contract> Contract for Option<T> {
    fn shape() -> Shape {
        Shape::Nullable(T::shape)
    }

    fn read(&mut self, node: &Node) {
        if node.is_null() {
            *self = None;
        } else {
            self.get_or_insert_default().read(node);
        }
    }

    fn export(&self) -> Value {
        self.as_ref().map_or(Value::Null, Contract::export)
    }

    fn export_over(&self, base: &Self) -> Value {
        match (self, base) {
            (Some(value), Some(base)) => value.export_over(base),
            _ => self.export(),
        }
    }
}
