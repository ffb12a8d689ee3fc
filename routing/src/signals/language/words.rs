//! Which language a text is in, by its commonest words and those that questions begin with.
//!
//! Comparing a text in Latin letters to every language that is written in them takes most of a detection. Few
//! languages share more than a handful of their commonest words, so a count of these tells, or leaves a few to compare.

use std::sync::LazyLock;

use whatlang::{Lang, Script};

/// Languages that are compared at most.
const MOST: usize = 6;
/// Common words by which at least one language must be known.
const LEAST_VOTES: u8 = 2;
/// Longer words are not looked at: eight bytes fit a register.
const LONGEST: usize = 8;
const SLOTS: usize = 4096;

/// Common words of languages in Latin letters.
const WORDS: [(Lang, &str); 37] = [
    (
        Lang::Afr,
        "die en van het is nie in wat te om hy dat sy ek met vir was aan word hulle ons maar hoe hoekom wanneer waar jy jou my skryf tussen hierdie kan",
    ),
    (Lang::Aka, "na no ne wɔ sɛ de a mu so ho nti ɛyɛ yɛ me wo onyame nyinaa"),
    (Lang::Aze, "və bu bir ki də ilə da üçün olan onun o daha ən var çox mən biz nə kimi"),
    (
        Lang::Cat,
        "de la el que i a en un per les els una amb és no del al va més són però com dels què quan on qui pots meu entre aquest aquesta hi ha quin quina",
    ),
    (
        Lang::Ces,
        "a v se na je že o s z do to i ve za by jsem ale po si jako pro od jsou který jeho bude jak co proč kdy kde kdo můžeš mi můj můžu napiš mezi tento jaký jaká mám prosím ani být nebo její každý má při",
    ),
    (
        Lang::Cym,
        "y yn a i o ar ac mae yr wedi ei am ond gan bod hyn fod oedd ni un fel beth sut pam ble pwy fy chi",
    ),
    (
        Lang::Dan,
        "og i at det er en til på af de den der for med som ikke et var han jeg har blev om hvordan hvad hvorfor hvornår hvor hvem kan du mig min mit skriv mellem denne dette skal eller hans hun fra være så når efter",
    ),
    (
        Lang::Deu,
        "der die und in den von zu das mit sich des auf für ist im dem nicht ein eine als auch es an bis hat ich wir sie wie was warum wann wo wer kann kannst du bitte erkläre schreibe mir mein meine über einen einer eines zwischen wenn oder wird sind gibt welche aber nach bei aus so um noch nur am einem zum zur haben werden war",
    ),
    (
        Lang::Eng,
        "the of and to in a is that for it as was with be by on not he this are or his from at which but have an they you we were had until all can what how why when where who write explain please show me my your about does do should would could give make use using between than then into there their some if so help need want tell will us i no may shall each any its has her him she been more most these those other",
    ),
    (Lang::Epo, "la de kaj en estas mi al ne por kiu ke li kun ĝi pri sed oni estis"),
    (
        Lang::Est,
        "ja on ei et ka see oli ta kui mis oma või aga siis ning kes mu nii sa kõik kuidas miks millal kus saad mulle minu kirjuta palun milline",
    ),
    (
        Lang::Fin,
        "ja on ei se että oli hän mutta ovat kun joka myös niin kuin jos mitä en sen tai olla miten miksi milloin missä kuka voitko minun kirjoita tämä selitä onko mikä eikä sekä hänen jokainen kanssa",
    ),
    (
        Lang::Fra,
        "de la le et les des en un du une que est pour qui dans a par plus pas au sur ne se ce il sont ou je nous vous tous comment quoi pourquoi quand où peux tu moi mon ma mes écris explique entre avec cette ces quel quelle quelles quels être faire peut ai ni sera son sa ses leur aux elle ils tout toute sans",
    ),
    (
        Lang::Hrv,
        "i u je na se da su za od s kao o koji iz ali što to ne bi nije biti ili do svi dok kako zašto kada gdje tko možeš mi moj napiši između ovaj koja koje",
    ),
    (
        Lang::Hun,
        "a az és hogy nem is egy ez volt meg csak de ha már még mint van vagy el minden hogyan mi miért mikor hol ki tudsz írj között ezt kell milyen melyik nekem lehet sem azt",
    ),
    (
        Lang::Ind,
        "yang dan di itu dengan untuk dari ini dalam tidak pada adalah akan ke juga saya oleh ada telah sampai semua apa mengapa kapan mana siapa bisa tolong buat antara cara buatkan berikan atau setiap orang sebuah bagi",
    ),
    (
        Lang::Ita,
        "di e il la che in un a per è una del non con si da i le sono come della al dei ma nel tutti cosa perché quando dove puoi mi mio mia scrivi spiega tra questo questa quale gli nella delle sul lo alla alle ha o ed ad anche più se dal dalla degli ai su ogni essere ci agli",
    ),
    (Lang::Jav, "ing lan kang iku sing ora wong ana saka karo dadi iki para nalika amarga"),
    (Lang::Lat, "et in est non ad ut cum quod si sed qui quae ex de esse a per sunt atque"),
    (
        Lang::Lav,
        "un ir ka no par uz ar viņš to bija kas lai arī tas nav es pie vai tā bet visi kā kāpēc kad kur man mans starp šis vari lūdzu kāda kāds",
    ),
    (
        Lang::Lit,
        "ir kad į tai iš su buvo yra ne bet jis o kaip ant po už ar aš jo visi kol kas kodėl kada kur man mano parašyk tarp šis gali koks kokia",
    ),
    (
        Lang::Nld,
        "de het een en van in is dat op te zijn met voor niet die aan er om ook als door maar bij was heeft had alle hoe wat waarom wanneer waar wie kan kun je mij mijn schrijf leg tussen over deze dit welke geef zal of hij zij wordt naar dan zo uit hebben worden",
    ),
    (
        Lang::Nob,
        "og i det på er en til som av for at med de ikke den har jeg et om var han fra seg ble alle hvordan hva hvorfor når hvor hvem kan du meg min mitt skriv mellom denne dette skal eller hans hun være så etter",
    ),
    (
        Lang::Pol,
        "i w na z się nie do to że jest o jak po co ale przez od za tego był aby czy tym są już aż dla dlaczego kiedy gdzie kto możesz mi mój moja napisz między ten ta jaki jaka mam proszę ma być ich lub oraz jego jej każdy gdy ze",
    ),
    (
        Lang::Por,
        "de a o que e do da em um para com não uma os no se na por mais as dos como mas foi ao ele até sua são você todos qual quando onde pode meu minha escreva explique entre sobre este esta isso me quais fazer é nem ser sem à às ou das pela pelo tem há toda todo cada nos nas será seu seus",
    ),
    (
        Lang::Ron,
        "de și în a la cu pe nu o să din că care este un mai ce pentru se au fost prin el sunt până toți când cum unde cine poți îmi meu scrie explică între acest această sau va fi orice are lui",
    ),
    (
        Lang::Slk,
        "a v na sa je že o s z do to aj vo za by som ale po si ako pre od sú ktorý jeho bude kým čo prečo kedy kde kto môžeš mi môj napíš medzi tento mám aký aká prosím ani byť alebo jej každý má pri",
    ),
    (
        Lang::Slv,
        "in je v na se da so za ki z ne pa s kot o po tudi bi iz ali še bil bila ter dokler vsi kako kaj zakaj kdaj kje kdo lahko mi moj napiši med ta kateri",
    ),
    (Lang::Sna, "kuti uye ne kana iye asi vanhu muna mwari zvino ari kwa"),
    (
        Lang::Spa,
        "de la que el en y a los se del las un por con no una su para es al lo como más o pero sus le ha me hasta todos cómo qué cuál cuándo dónde puedes mi explica escribe entre sobre este esta hay tengo cuáles hacer ni ser será u sin toda todo cada tiene fue nos les",
    ),
    (
        Lang::Swe,
        "och i att det som en på är av för med den till inte om ett han de var jag har från men alla tills hur vad varför när vem kan du mig min mitt skriv mellan denna detta ska eller hans hon vara så efter",
    ),
    (
        Lang::Tgl,
        "ang ng sa na mga ay at si hindi niya siya ito kung ko para nila ako ano paano bakit kailan saan sino isulat",
    ),
    (Lang::Tuk, "we bilen bu bir üçin hem ol men onuň diýip bolan şeýle"),
    (
        Lang::Tur,
        "ve bir bu da de için ile çok ne daha olarak gibi o var olan kadar en ben ama sonra bütün değil nasıl neden zaman nerede kim nedir bana benim yaz açıkla misin mısın mı mi hangi veya her hiç ya ise göre ki",
    ),
    (Lang::Uzb, "va bu bir bilan uchun ham edi men u deb bo'lgan esa emas kerak"),
    (
        Lang::Vie,
        "và là của có cho không được một trong với các đã người này để những khi đến tôi tất cả như thế nào gì tại sao đâu ai hãy giải thích viết làm bạn",
    ),
    (Lang::Zul, "ukuthi futhi kodwa uma ngoba wathi lapho kanye abantu nga"),
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

/// What the words of a text in Latin letters say.
#[derive(Debug)]
pub(super) enum Said {
    /// The language, and how sure that is in `[0,1)`: each common word halves the doubt.
    Language(Lang, f64),
    /// It is one of these, which share words; the first is the likeliest, by so much in `[0,1)`.
    OneOf(Vec<Lang>, f64),
    /// Nothing.
    Nothing,
}

/// Counts the common words of each language.
pub(super) fn said(text: &str) -> Said {
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
    let most = votes.iter().copied().max().unwrap_or(0);
    if most < LEAST_VOTES {
        return Said::Nothing;
    }
    // A language that has half of the votes may still be the right one.
    let mut known: Vec<usize> =
        (0..WORDS.len()).filter(|language| votes[*language] >= most.div_ceil(2)).collect();
    known.sort_by_key(|language| std::cmp::Reverse(votes[*language]));
    known.truncate(MOST);
    let second = known.get(1).map_or(0, |second| votes[*second]);
    let mut likely: Vec<Lang> = known.into_iter().map(|language| WORDS[language].0).collect();
    if likely.contains(&Lang::Dan) && likely.contains(&Lang::Nob) {
        let wrong = super::nordic::not(text);
        likely.retain(|language| Some(*language) != wrong);
    }
    let sure = |votes: u8| 1.0 - 0.5_f64.powi(i32::from(votes));
    match likely[..] {
        [language] => Said::Language(language, sure(most)),
        _ => Said::OneOf(likely, sure(most - second)),
    }
}

/// Languages whose texts, where they are long enough, have letters beyond ASCII.
pub(super) const BEYOND_ASCII: [Lang; 13] = [
    Lang::Aze,
    Lang::Aka,
    Lang::Ces,
    Lang::Epo,
    Lang::Hun,
    Lang::Lav,
    Lang::Lit,
    Lang::Pol,
    Lang::Ron,
    Lang::Slk,
    Lang::Tuk,
    Lang::Tur,
    Lang::Vie,
];

/// Languages that a text in these letters is not in.
pub(super) fn ruled_out(script: Script, text: &str) -> &'static [Lang] {
    let has = |letters: &[char]| text.contains(letters);
    match script {
        Script::Cyrillic
            if has(&['ы', 'э', 'ё', 'Ы', 'Э', 'Ё']) && !has(&['і', 'ї', 'є', 'ў', 'І', 'Ї', 'Є', 'Ў']) =>
        {
            &[Lang::Bul, Lang::Mkd, Lang::Srp, Lang::Ukr]
        }
        // Yiddish writes vowels: with points under alef and yud, and with ligatures.
        Script::Hebrew if !has(&['\u{5b7}', '\u{5b8}', 'װ', 'ױ', 'ײ']) => &[Lang::Yid],
        _ => &[],
    }
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
