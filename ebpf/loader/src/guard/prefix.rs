//! Addresses and networks as operators write them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// An address with the number of bits that count. Bits beyond them are zero; IPv4 in IPv6 is IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Prefix {
    address: IpAddr,
    bits: u8,
}

/// It is no prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PrefixError {
    /// The part before the slash.
    #[error("not an IP address or a network such as 10.0.0.0/8 or 2001:db8::/32")]
    Address,
    /// The part behind it.
    #[error("a network has 0 to {0} bits")]
    Bits(u8),
}

impl Prefix {
    /// The network of `address` that `bits` leading bits make.
    ///
    /// # Errors
    /// More bits than the address has.
    pub fn new(address: IpAddr, bits: u8) -> Result<Self, PrefixError> {
        let (address, bits) = match address {
            IpAddr::V6(v6) if (96..=128).contains(&bits) => match v6.to_ipv4_mapped() {
                Some(v4) => (IpAddr::V4(v4), bits - 96),
                None => (address, bits),
            },
            _ => (address, bits),
        };
        let address = match address {
            IpAddr::V4(_) if bits > 32 => return Err(PrefixError::Bits(32)),
            IpAddr::V6(_) if bits > 128 => return Err(PrefixError::Bits(128)),
            IpAddr::V4(v4) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & mask))
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask))
            }
        };
        Ok(Self { address, bits })
    }

    /// The first address.
    pub const fn address(self) -> IpAddr {
        self.address
    }

    /// How many bits count.
    pub const fn bits(self) -> u8 {
        self.bits
    }
}

impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| PrefixError::Address)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            Some(bits) => bits.parse().map_err(|_| PrefixError::Bits(most))?,
            None => most,
        };
        Self::new(address, bits)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = if self.address.is_ipv4() { 32 } else { 128 };
        if self.bits == whole { self.address.fmt(f) } else { write!(f, "{}/{}", self.address, self.bits) }
    }
}

impl serde::Serialize for Prefix {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_read_and_written() {
        for (text, written) in [
            ("10.1.2.3", "10.1.2.3"),
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("10.1.2.3/32", "10.1.2.3"),
            ("2001:db8:1::5/32", "2001:db8::/32"),
            ("::/0", "::/0"),
            ("::1", "::1"),
            ("::ffff:10.1.2.3", "10.1.2.3"),
            ("::ffff:10.1.2.3/104", "10.0.0.0/8"),
        ] {
            assert_eq!(text.parse::<Prefix>().unwrap().to_string(), written, "{text}");
        }
        for (text, error) in [
            ("", PrefixError::Address),
            ("example.org", PrefixError::Address),
            ("10.1.2", PrefixError::Address),
            ("10.1.2.3/33", PrefixError::Bits(32)),
            ("10.1.2.3/", PrefixError::Bits(32)),
            ("10.1.2.3/-1", PrefixError::Bits(32)),
            ("::1/129", PrefixError::Bits(128)),
        ] {
            assert_eq!(text.parse::<Prefix>(), Err(error), "{text}");
        }
    }
}
