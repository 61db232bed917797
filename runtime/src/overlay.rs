//! Which trees of the host get an overlay in memory; runsc's words.

use std::str::FromStr;

use anyhow::{Context, Result};
use hostcall::OverlaySize;
use oci_spec::runtime::Spec;

/// The annotation that says the same of one container as the flag does of all.
pub(crate) const ANNOTATION: &str = "io.github.ringfence.overlay2";

/// `--overlay2`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Overlay {
    /// Changes go to the host.
    #[default]
    None,
    /// Those of the root stay in memory.
    Root(OverlaySize),
    /// Those of bind mounts too, each in an overlay of its own.
    All(OverlaySize),
}

impl Overlay {
    /// What holds for a container: the flag, or where it is not given the bundle's annotation.
    pub(crate) fn of(flag: Option<Self>, spec: &Spec) -> Result<Self> {
        if let Some(flag) = flag {
            return Ok(flag);
        }
        let Some(text) = spec.annotations().as_ref().and_then(|all| all.get(ANNOTATION)) else {
            return Ok(Self::None);
        };
        text.parse()
            .map_err(anyhow::Error::msg)
            .with_context(|| format!("config.json: annotations[{ANNOTATION:?}]"))
    }

    /// That of the root.
    pub(crate) fn root(self) -> Option<OverlaySize> {
        match self {
            Self::None => None,
            Self::Root(size) | Self::All(size) => Some(size),
        }
    }

    /// That of a bind mount.
    pub(crate) fn mount(self) -> Option<OverlaySize> {
        if let Self::All(size) = self { Some(size) } else { None }
    }
}

impl FromStr for Overlay {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected =
            || format!("{text:?}: expected none, root:memory or all:memory, with ,size=BYTES if need be");
        if text == "none" {
            return Ok(Self::None);
        }
        let (what, size) = match text.split_once(',') {
            None => (text, None),
            Some((what, option)) => {
                let size = option.strip_prefix("size=").ok_or_else(expected)?;
                (what, Some(bytes(size).ok_or_else(expected)?))
            }
        };
        match what {
            "root:memory" => Ok(Self::Root(size)),
            "all:memory" => Ok(Self::All(size)),
            _ => Err(expected()),
        }
    }
}

/// A number of bytes, with `k`, `m`, `g` or `t` for powers of 1024.
fn bytes(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let power = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << (10 * power)).filter(|&bytes| bytes != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        assert_eq!("none".parse(), Ok(Overlay::None));
        assert_eq!("root:memory".parse(), Ok(Overlay::Root(None)));
        assert_eq!("all:memory,size=2g".parse(), Ok(Overlay::All(Some(2 << 30))));
        for bad in [
            "",
            "root",
            "root:self",
            "all:dir=/tmp",
            "root:memory,size=",
            "root:memory,size=0",
            "root:memory,x=1",
        ] {
            assert!(bad.parse::<Overlay>().is_err(), "{bad}");
        }
    }
}
