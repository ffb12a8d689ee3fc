//! The kernels' machine code, as `scripts/hip.sh` compiled and committed it.

use sha2::{Digest, Sha256};

use crate::error::Error;

/// Code for one architecture.
pub(crate) struct Image {
    pub(crate) architecture: &'static str,
    pub(crate) code: &'static [u8],
}

/// What the library parses had better lie where a file's mapping would.
#[repr(C, align(64))]
struct Aligned<T: ?Sized>(T);

macro_rules! image {
    ($architecture:literal) => {{
        static CODE: &Aligned<[u8]> =
            &Aligned(*include_bytes!(concat!("../prebuilt/", $architecture, ".co")));
        Image { architecture: $architecture, code: &CODE.0 }
    }};
}

/// All of them.
pub(crate) fn all() -> [Image; 5] {
    [image!("gfx90a"), image!("gfx942"), image!("gfx950"), image!("gfx1100"), image!("gfx1201")]
}

/// As `sha256sum` wrote them: digest, two spaces, file.
const DIGESTS: &str = include_str!("../prebuilt/SHA256SUMS");

/// The code for an architecture.
pub(crate) fn find(architecture: &str) -> Result<&'static [u8], Error> {
    let Some(image) = all().into_iter().find(|image| image.architecture == architecture) else {
        let known: Vec<&str> = all().iter().map(|image| image.architecture).collect();
        return Err(Error::NoKernels { arch: architecture.to_owned(), known: known.join(", ") });
    };
    if !intact(&image) {
        return Err(Error::Damaged { arch: image.architecture });
    }
    Ok(image.code)
}

/// Whether the code has the digest that is noted beside it.
fn intact(image: &Image) -> bool {
    let file = format!("{}.co", image.architecture);
    let noted = DIGESTS.lines().find_map(|line| line.split_once("  ").filter(|(_, name)| *name == file));
    let digest = Sha256::digest(image.code);
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    noted.is_some_and(|(noted, _)| noted == digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_image_is_the_one_that_was_committed() {
        for image in all() {
            assert!(find(image.architecture).is_ok(), "{}", image.architecture);
            assert!(image.code.as_ptr().addr().is_multiple_of(64));
        }
        assert_eq!(DIGESTS.lines().count(), all().len());
    }

    #[test]
    fn a_changed_byte_is_noticed() {
        let mut code = all()[0].code.to_vec();
        code[1000] ^= 1;
        assert!(!intact(&Image { architecture: all()[0].architecture, code: code.leak() }));
    }

    #[test]
    fn an_architecture_without_kernels_is_told_which_have_some() {
        let error = find("gfx906").unwrap_err().to_string();
        assert!(error.contains("gfx906") && error.contains("gfx90a, gfx942"), "{error}");
    }
}
