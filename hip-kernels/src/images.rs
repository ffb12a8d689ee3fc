//! The kernels' machine code, as `scripts/hip.sh` compiled and committed it; deflated in the program.

use std::io::Read as _;

use flate2::read::DeflateDecoder;
use sha2::{Digest, Sha256};

use crate::error::Error;

/// Code for one architecture.
struct Image {
    architecture: &'static str,
    deflated: &'static [u8],
}

macro_rules! image {
    ($architecture:literal) => {
        Image {
            architecture: $architecture,
            deflated: include_bytes!(concat!(env!("OUT_DIR"), "/", $architecture, ".co.deflate")),
        }
    };
}

static IMAGES: [Image; 5] =
    [image!("gfx90a"), image!("gfx942"), image!("gfx950"), image!("gfx1100"), image!("gfx1201")];

/// As `sha256sum` wrote them: digest, two spaces, file.
const DIGESTS: &str = include_str!("../prebuilt/SHA256SUMS");

/// The code for an architecture.
pub(crate) fn find(architecture: &str) -> Result<Vec<u8>, Error> {
    let Some(image) = IMAGES.iter().find(|image| image.architecture == architecture) else {
        let known: Vec<&str> = IMAGES.iter().map(|image| image.architecture).collect();
        return Err(Error::NoKernels { arch: architecture.to_owned(), known: known.join(", ") });
    };
    let damaged = Error::Damaged { arch: image.architecture };
    let mut code = Vec::new();
    match DeflateDecoder::new(image.deflated).read_to_end(&mut code) {
        Ok(_) if digest_is_noted(architecture, &code) => Ok(code),
        Ok(_) | Err(_) => Err(damaged),
    }
}

/// Whether the code has the digest that was committed beside it.
fn digest_is_noted(architecture: &str, code: &[u8]) -> bool {
    let file = format!("{architecture}.co");
    let noted = DIGESTS.lines().find_map(|line| line.split_once("  ").filter(|(_, name)| *name == file));
    let digest: String = Sha256::digest(code).iter().map(|byte| format!("{byte:02x}")).collect();
    noted.is_some_and(|(noted, _)| noted == digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_image_is_the_one_that_was_committed() {
        for image in &IMAGES {
            let code = find(image.architecture).unwrap();
            assert!(code.starts_with(b"\x7fELF"), "{}", image.architecture);
        }
        assert_eq!(DIGESTS.lines().count(), IMAGES.len());
    }

    #[test]
    fn a_changed_byte_is_noticed() {
        let mut code = find("gfx942").unwrap();
        assert!(digest_is_noted("gfx942", &code));
        assert!(!digest_is_noted("gfx950", &code));
        code[1000] ^= 1;
        assert!(!digest_is_noted("gfx942", &code));
    }

    #[test]
    fn an_architecture_without_kernels_is_told_which_have_some() {
        let error = find("gfx906").unwrap_err().to_string();
        assert!(error.contains("gfx906") && error.contains("gfx90a, gfx942"), "{error}");
    }
}
