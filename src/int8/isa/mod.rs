//! The instruction sets.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// An instruction set that the operators have kernels for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isa {
    /// None in particular: the reference.
    Scalar,
    /// x86-64 with AVX2 and FMA.
    Avx2,
    /// AVX2 with AVX-VNNI: dot products of four bytes.
    AvxVnni,
    /// AVX-512 (F, BW, VL) with VNNI.
    Avx512Vnni,
    /// aarch64.
    Neon,
    /// aarch64 with dot products of four bytes.
    NeonDotprod,
    /// aarch64 with dot products of unsigned by signed bytes.
    NeonI8mm,
}

impl Isa {
    const ALL: [Self; 7] = [
        Self::Scalar,
        Self::Avx2,
        Self::AvxVnni,
        Self::Avx512Vnni,
        Self::Neon,
        Self::NeonDotprod,
        Self::NeonI8mm,
    ];

    /// As it is written in `CAMLIVE_ISA`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
            Self::AvxVnni => "avx-vnni",
            Self::Avx512Vnni => "avx512-vnni",
            Self::Neon => "neon",
            Self::NeonDotprod => "neon-dotprod",
            Self::NeonI8mm => "neon-i8mm",
        }
    }

    /// Those that this machine has and this program has kernels for, the slowest first: the first
    /// is always [`Isa::Scalar`].
    pub fn available() -> Vec<Self> {
        Self::ALL.into_iter().filter(|isa| isa.is_available()).collect()
    }

    /// The fastest that is available.
    pub fn best() -> Self {
        *Self::available().last().expect("Isa::Scalar is always available")
    }

    /// The one that the environment variable `CAMLIVE_ISA` names; the best where it is not set.
    ///
    /// # Errors
    /// A name that is unknown, or of an instruction set that is not available.
    pub fn from_env() -> Result<Self> {
        match std::env::var_os("CAMLIVE_ISA") {
            None => Ok(Self::best()),
            Some(name) => Self::of_name(&name.to_string_lossy()),
        }
    }

    fn of_name(name: &str) -> Result<Self> {
        let available = Self::available();
        name.parse().ok().filter(|isa| available.contains(isa)).ok_or_else(|| {
            let names: Vec<_> = available.iter().map(|isa| isa.name()).collect();
            Error::usage(format!(
                "CAMLIVE_ISA is {name:?}, which is no instruction set of this machine; it has {}",
                names.join(", ")
            ))
        })
    }

    /// Itself where it is available, as every operator wants it.
    pub(super) fn checked(self) -> std::result::Result<Self, String> {
        if self.is_available() {
            Ok(self)
        } else {
            Err(format!("the instruction set {self} is not available on this machine"))
        }
    }

    fn is_available(self) -> bool {
        match self {
            Self::Scalar => true,
            _ => false,
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Isa {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|isa| isa.name() == name)
            .ok_or_else(|| format!("{name:?} is no instruction set"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for isa in Isa::ALL {
            assert_eq!(isa.name().parse(), Ok(isa));
        }
        assert!("mmx".parse::<Isa>().is_err());
    }

    #[test]
    fn the_scalar_reference_is_always_available_and_comes_first() {
        assert_eq!(Isa::available()[0], Isa::Scalar);
        assert!(Isa::available().contains(&Isa::best()));
    }

    #[test]
    fn a_name_that_is_not_available_is_answered_with_those_that_are() {
        let error = Isa::of_name("sse9").unwrap_err().to_string();
        assert!(error.contains("\"sse9\"") && error.contains("it has scalar"), "{error}");
        assert_eq!(Isa::of_name("scalar"), Ok(Isa::Scalar));
    }

    #[test]
    fn an_operator_refuses_an_instruction_set_that_the_machine_lacks() {
        for isa in Isa::ALL {
            assert_eq!(isa.checked().is_ok(), Isa::available().contains(&isa), "{isa}");
        }
    }
}
