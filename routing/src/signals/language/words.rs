//! Which languages a text may be in, by its commonest words, so that a detector compares it to those only.
//!
//! Comparing a text in Latin letters to every language that is written in them takes most of a detection. Few
//! languages share more than a handful of their commonest words, so a count of these leaves a few to compare.

use std::sync::LazyLock;

use whatlang::Lang;

/// Languages that are compared at most.
const MOST: usize = 6;
/// Common words by which at least one language must be known.
const LEAST_VOTES: u8 = 2;
/// Longer words are not looked at: eight bytes fit a register.
const LONGEST: usize = 8;
const SLOTS: usize = 2048;

/// Common words of languages in Latin letters.
const WORDS: [(Lang, &str); 37] = [
    (Lang::Afr, "die en van het is nie in wat te om hy dat sy ek met vir was aan word hulle ons maar"),
    (Lang::Aka, "na no ne wɔ sɛ de a mu so ho nti ɛyɛ yɛ me wo onyame nyinaa"),
    (Lang::Aze, "və bu bir ki də ilə da üçün olan onun o daha ən var çox mən biz nə kimi"),
    (Lang::Cat, "de la el que i a en un per les els una amb és no del al va més són però com dels"),
    (Lang::Ces, "a v se na je že o s z do to i ve za by jsem ale po si jako pro od jsou který jeho bude"),
    (Lang::Cym, "y yn a i o ar ac mae yr wedi ei am ond gan bod hyn fod oedd ni un fel"),
    (Lang::Dan, "og i at det er en til på af de den der for med som ikke et var han jeg har blev om"),
    (
        Lang::Deu,
        "der die und in den von zu das mit sich des auf für ist im dem nicht ein eine als auch es an bis hat ich wir sie",
    ),
    (
        Lang::Eng,
        "the of and to in a is that for it as was with be by on not he this are or his from at which but have an they you we were had until all can",
    ),
    (Lang::Epo, "la de kaj en estas mi al ne por kiu ke li kun ĝi pri sed oni estis"),
    (Lang::Est, "ja on ei et ka see oli ta kui mis oma või aga siis ning kes mu nii sa kõik"),
    (Lang::Fin, "ja on ei se että oli hän mutta ovat kun joka myös niin kuin jos mitä en sen tai olla"),
    (
        Lang::Fra,
        "de la le et les des en un du une que est pour qui dans a par plus pas au sur ne se ce il sont ou je nous vous tous",
    ),
    (Lang::Hrv, "i u je na se da su za od s kao o koji iz ali što to ne bi nije biti ili do svi dok"),
    (Lang::Hun, "a az és hogy nem is egy ez volt meg csak de ha már még mint van vagy el minden"),
    (
        Lang::Ind,
        "yang dan di itu dengan untuk dari ini dalam tidak pada adalah akan ke juga saya oleh ada telah sampai semua",
    ),
    (
        Lang::Ita,
        "di e il la che in un a per è una del non con si da i le sono come della al dei ma nel tutti",
    ),
    (Lang::Jav, "ing lan kang iku sing ora wong ana saka karo dadi iki para nalika amarga"),
    (Lang::Lat, "et in est non ad ut cum quod si sed qui quae ex de esse a per sunt atque"),
    (Lang::Lav, "un ir ka no par uz ar viņš to bija kas lai arī tas nav es pie vai tā bet visi"),
    (Lang::Lit, "ir kad į tai iš su buvo yra ne bet jis o kaip ant po už ar aš jo visi kol"),
    (
        Lang::Nld,
        "de het een en van in is dat op te zijn met voor niet die aan er om ook als door maar bij was heeft had alle",
    ),
    (Lang::Nob, "og i det på er en til som av for at med de ikke den har jeg et om var han fra seg ble alle"),
    (
        Lang::Pol,
        "i w na z się nie do to że jest o jak po co ale przez od za tego był aby czy tym są już aż dla",
    ),
    (
        Lang::Por,
        "de a o que e do da em um para com não uma os no se na por mais as dos como mas foi ao ele até sua são você todos",
    ),
    (
        Lang::Ron,
        "de și în a la cu pe nu o să din că care este un mai ce pentru se au fost prin el sunt până toți când",
    ),
    (Lang::Slk, "a v na sa je že o s z do to aj vo za by som ale po si ako pre od sú ktorý jeho bude kým"),
    (Lang::Slv, "in je v na se da so za ki z ne pa s kot o po tudi bi iz ali še bil bila ter dokler vsi"),
    (Lang::Sna, "kuti uye ne kana iye asi vanhu muna mwari zvino ari kwa"),
    (
        Lang::Spa,
        "de la que el en y a los se del las un por con no una su para es al lo como más o pero sus le ha me hasta todos",
    ),
    (
        Lang::Swe,
        "och i att det som en på är av för med den till inte om ett han de var jag har från men alla tills",
    ),
    (Lang::Tgl, "ang ng sa na mga ay at si hindi niya siya ito kung ko para nila ako"),
    (Lang::Tuk, "we bilen bu bir üçin hem ol men onuň diýip bolan şeýle"),
    (
        Lang::Tur,
        "ve bir bu da de için ile çok ne daha olarak gibi o var olan kadar en ben ama sonra bütün değil",
    ),
    (Lang::Uzb, "va bu bir bilan uchun ham edi men u deb bo'lgan esa emas kerak"),
    (Lang::Vie, "và là của có cho không được một trong với các đã người này để những khi đến tôi tất cả"),
    (Lang::Zul, "ukuthi futhi kodwa uma ngoba wathi lapho kanye abantu nga"),
];

/// Every language whose script tells more than its words.
const OTHERS: [Lang; 34] = [
    Lang::Rus,
    Lang::Ukr,
    Lang::Bul,
    Lang::Mkd,
    Lang::Srp,
    Lang::Bel,
    Lang::Cmn,
    Lang::Jpn,
    Lang::Kor,
    Lang::Ara,
    Lang::Urd,
    Lang::Pes,
    Lang::Heb,
    Lang::Yid,
    Lang::Hin,
    Lang::Mar,
    Lang::Nep,
    Lang::Ben,
    Lang::Guj,
    Lang::Pan,
    Lang::Tam,
    Lang::Tel,
    Lang::Kan,
    Lang::Mal,
    Lang::Ori,
    Lang::Sin,
    Lang::Tha,
    Lang::Khm,
    Lang::Mya,
    Lang::Ell,
    Lang::Kat,
    Lang::Hye,
    Lang::Amh,
    Lang::Epo,
];

/// Words as eight bytes, and a bit per language that has them.
static TABLE: LazyLock<Box<[(u64, u64)]>> = LazyLock::new(|| {
    let mut table = vec![(0, 0); SLOTS].into_boxed_slice();
    for (at, (_, words)) in WORDS.iter().enumerate() {
        for word in words.split(' ').filter(|word| word.len() <= LONGEST) {
            let key = packed(word.as_bytes());
            let mut slot = place(key);
            while table[slot].0 != 0 && table[slot].0 != key {
                slot = (slot + 1) % SLOTS;
            }
            table[slot] = (key, table[slot].1 | 1 << at);
        }
    }
    table
});

/// Languages to compare a text to; `None` if its words do not tell, and all have to be.
pub(super) fn likely(text: &str) -> Option<Vec<Lang>> {
    let mut votes = [0u8; WORDS.len()];
    let mut from = 0;
    let bytes = text.as_bytes();
    for at in 0..=bytes.len() {
        // A byte beyond ASCII continues a word: all letters there are such.
        if at < bytes.len() && (bytes[at].is_ascii_alphabetic() || bytes[at] >= 0x80 || bytes[at] == b'\'') {
            continue;
        }
        if (1..=LONGEST).contains(&(at - from)) {
            let mut languages = languages_of(packed(&bytes[from..at]));
            while languages != 0 {
                let language = languages.trailing_zeros() as usize;
                votes[language] = votes[language].saturating_add(1);
                languages &= languages - 1;
            }
        }
        from = at + 1;
    }
    let mut known: Vec<usize> = (0..WORDS.len()).filter(|language| votes[*language] > 0).collect();
    known.sort_by_key(|language| std::cmp::Reverse(votes[*language]));
    known.first().filter(|language| votes[**language] >= LEAST_VOTES)?;
    known.truncate(MOST);
    let mut likely: Vec<Lang> = known.into_iter().map(|language| WORDS[language].0).collect();
    if likely.contains(&Lang::Dan) && likely.contains(&Lang::Nob) {
        let wrong = super::nordic::not(text);
        likely.retain(|language| Some(*language) != wrong);
    }
    likely.extend(OTHERS);
    Some(likely)
}

/// Languages in Cyrillic letters that have no `ы` or `э`, where one of these occurs.
pub(super) fn without_southern(text: &str) -> bool {
    let has = |letters: &[char]| text.contains(letters);
    has(&['ы', 'э', 'ё', 'Ы', 'Э', 'Ё']) && !has(&['і', 'ї', 'є', 'ў', 'І', 'Ї', 'Є', 'Ў'])
}

fn packed(word: &[u8]) -> u64 {
    let mut bytes = [0; LONGEST];
    bytes[..word.len()].copy_from_slice(word);
    bytes.make_ascii_lowercase();
    u64::from_le_bytes(bytes)
}

fn languages_of(key: u64) -> u64 {
    let mut slot = place(key);
    while TABLE[slot].0 != 0 {
        if TABLE[slot].0 == key {
            return TABLE[slot].1;
        }
        slot = (slot + 1) % SLOTS;
    }
    0
}

const fn place(key: u64) -> usize {
    (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize % SLOTS
}
