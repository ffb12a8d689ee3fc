//! Danish and Norwegian (Bokmål), which share most words: told apart by spellings that only one of them has.

use whatlang::Lang;

/// Common words that the other language spells differently.
const DANISH: &str = "af efter mellem uden nogen noget nogle hvad blev bliver blive mig dig sig nu op ud mod imod igen \
    gøre gør have haft fået gennem igennem sprog ret vej mere udtryk sådan hjælp hjælpe øjeblik";
const NORWEGIAN: &str = "av etter mellom uten noen noe hva ble blir bli meg deg seg nå opp ut mot imot igjen gjøre gjør ha \
    hatt fått gjennom igjennom språk rett vei mer uttrykk slik hjelp hjelpe øyeblikk";
/// Endings of nouns, likewise.
const DANISH_ENDINGS: [&str; 5] = ["hed", "heden", "heder", "tion", "tioner"];
const NORWEGIAN_ENDINGS: [&str; 5] = ["het", "heten", "heter", "sjon", "sjoner"];

/// Of the two, the one that `text` is not written in, where its spelling tells.
pub(super) fn not(text: &str) -> Option<Lang> {
    let (mut danish, mut norwegian) = (0u32, 0u32);
    for word in text.split(|c: char| !c.is_alphabetic()).filter(|word| word.len() >= 2) {
        let word = word.to_lowercase();
        let has = |words: &str, endings: &[&str]| {
            words.split(' ').any(|known| known == word)
                || endings.iter().any(|ending| word.len() > ending.len() + 2 && word.ends_with(ending))
        };
        danish += u32::from(has(DANISH, &DANISH_ENDINGS));
        norwegian += u32::from(has(NORWEGIAN, &NORWEGIAN_ENDINGS));
    }
    match danish.cmp(&norwegian) {
        std::cmp::Ordering::Greater => Some(Lang::Nob),
        std::cmp::Ordering::Less => Some(Lang::Dan),
        std::cmp::Ordering::Equal => None,
    }
}
