use super::*;

/// One sentence of each language, and what it is.
const SENTENCES: [(&str, &str); 27] = [
    ("en", "The committee postponed its decision until all members had read the report."),
    ("de", "Der Ausschuss hat seine Entscheidung verschoben, bis alle Mitglieder den Bericht gelesen haben."),
    ("fr", "Le comité a reporté sa décision jusqu'à ce que tous les membres aient lu le rapport."),
    ("es", "El comité aplazó su decisión hasta que todos los miembros hubieran leído el informe."),
    ("it", "Il comitato ha rinviato la decisione finché tutti i membri non avranno letto la relazione."),
    ("pt", "O comité adiou a sua decisão até que todos os membros tivessem lido o relatório."),
    ("nl", "De commissie heeft haar beslissing uitgesteld totdat alle leden het verslag hadden gelezen."),
    ("pl", "Komisja odłożyła swoją decyzję do czasu, aż wszyscy członkowie przeczytają sprawozdanie."),
    ("cs", "Výbor odložil své rozhodnutí, dokud si všichni členové nepřečtou zprávu."),
    ("sv", "Kommittén sköt upp sitt beslut tills alla ledamöter hade läst rapporten."),
    ("fi", "Valiokunta lykkäsi päätöstään, kunnes kaikki jäsenet olivat lukeneet raportin."),
    ("hu", "A bizottság elhalasztotta a döntését, amíg minden tag el nem olvasta a jelentést."),
    ("tr", "Komite, bütün üyeler raporu okuyana kadar kararını erteledi."),
    ("ru", "Комитет отложил своё решение, пока все участники не прочитают отчёт."),
    ("uk", "Комітет відклав своє рішення, доки всі учасники не прочитають звіт."),
    ("el", "Η επιτροπή ανέβαλε την απόφασή της μέχρι όλα τα μέλη να διαβάσουν την έκθεση."),
    ("ar", "أجلت اللجنة قرارها حتى يقرأ جميع الأعضاء التقرير."),
    ("he", "הוועדה דחתה את החלטתה עד שכל החברים יקראו את הדוח."),
    ("hi", "समिति ने अपना निर्णय तब तक के लिए टाल दिया जब तक सभी सदस्य रिपोर्ट न पढ़ लें।"),
    ("th", "คณะกรรมการเลื่อนการตัดสินใจออกไปจนกว่าสมาชิกทุกคนจะอ่านรายงาน"),
    ("zh", "委员会推迟了决定，直到所有成员都读完报告。"),
    ("ja", "委員会は、全員が報告書を読むまで決定を延期しました。"),
    ("ko", "위원회는 모든 위원이 보고서를 읽을 때까지 결정을 미루었습니다."),
    ("vi", "Ủy ban đã hoãn quyết định cho đến khi tất cả các thành viên đọc xong báo cáo."),
    ("ro", "Comitetul și-a amânat decizia până când toți membrii au citit raportul."),
    ("id", "Panitia menunda keputusannya sampai semua anggota telah membaca laporan tersebut."),
    ("bg", "Комитетът отложи решението си, докато всички членове прочетат доклада."),
];

#[test]
fn one_sentence_is_enough_in_27_languages() {
    for (code, sentence) in SENTENCES {
        let found = detect(sentence);
        assert!(found.is_some_and(|(found, sure)| found == code && sure >= 0.3), "{code}: {found:?}");
    }
}

#[test]
fn common_words_leave_few_languages_and_always_the_right_one() {
    let mut told = 0;
    for (code, sentence) in SENTENCES {
        let likely = match words::said(sentence) {
            Said::Language(language, _) => vec![language],
            Said::OneOf(languages, _) => languages,
            Said::Nothing => continue,
        };
        told += 1;
        assert!(likely.iter().any(|lang| two_letters(*lang) == Some(code)), "{code}: {likely:?}");
    }
    assert!(told >= 14, "{told}");
}

#[test]
fn what_is_no_sentence_is_compared_to_everything() {
    for text in ["", "xyzzy plugh", "1234 5678", "函数", "fn main() {}"] {
        assert!(matches!(words::said(text), Said::Nothing), "{text}");
    }
}

#[test]
fn foreign_words_do_not_hide_the_script() {
    assert_eq!(
        detect("委员会推迟了决定 (is it the same?) 直到所有成员都读完报告。").map(|found| found.0),
        Some("zh")
    );
}

#[test]
fn danish_and_norwegian_are_told_by_their_spelling() {
    for (code, sentence) in [
        ("da", "Efter mødet talte vi om, hvad der skal ske med huset."),
        ("da", "Hun vil ikke rejse uden sin bror, og han bliver hjemme i år."),
        ("da", "Der er stor forskel mellem frihed og tryghed i den nye organisation."),
        ("da", "Kan du hjælpe mig med at skrive et brev til min udlejer?"),
        ("nb", "Etter møtet snakket vi om hva som skal skje med huset."),
        ("nb", "Hun vil ikke reise uten broren sin, og han blir hjemme i år."),
        ("nb", "Det er stor forskjell mellom frihet og trygghet i den nye organisasjonen."),
        ("nb", "Kan du hjelpe meg med å skrive et brev til utleieren min?"),
        ("sv", "Efter mötet talade vi om vad som ska hända med huset av trä."),
    ] {
        assert_eq!(detect(sentence).map(|found| found.0), Some(code), "{sentence}");
    }
    assert_eq!(nordic::not("Vi kommer i morgen."), None);
}

/// What people ask machines, in one sentence.
const PROMPTS: [(&str, &str); 45] = [
    ("en", "How do I sort a list in Python?"),
    ("en", "Write a haiku about rust."),
    ("en", "Explain quantum computing to me like I am five."),
    ("de", "Wie sortiere ich eine Liste in Python?"),
    ("de", "Schreibe mir ein kurzes Gedicht über den Herbst."),
    ("de", "Was ist der Unterschied zwischen TCP und UDP?"),
    ("fr", "Comment trier une liste en Python ?"),
    ("fr", "Écris un court poème sur l'automne."),
    ("fr", "Quelle est la différence entre TCP et UDP ?"),
    ("es", "¿Cómo ordeno una lista en Python?"),
    ("es", "Escribe un poema corto sobre el otoño."),
    ("es", "¿Cuál es la diferencia entre TCP y UDP?"),
    ("it", "Come posso ordinare una lista in Python?"),
    ("it", "Scrivi una breve poesia sull'autunno."),
    ("it", "Qual è la differenza tra TCP e UDP?"),
    ("pt", "Como faço para ordenar uma lista em Python?"),
    ("pt", "Escreva um poema curto sobre o outono."),
    ("nl", "Hoe sorteer ik een lijst in Python?"),
    ("nl", "Wat zijn de voordelen van TCP?"),
    ("pl", "Jak posortować listę w Pythonie?"),
    ("pl", "Jaka jest różnica między TCP a UDP?"),
    ("cs", "Jak seřadím seznam v Pythonu?"),
    ("cs", "Jaký je rozdíl mezi TCP a UDP?"),
    ("sv", "Hur sorterar jag en lista i Python?"),
    ("sv", "Vad är skillnaden mellan TCP och UDP?"),
    ("da", "Hvordan sletter jeg en fil uden at åbne den?"),
    ("da", "Hvad er forskellen mellem TCP og UDP?"),
    ("fi", "Miten lajittelen listan Pythonissa?"),
    ("fi", "Mikä on ero TCP:n ja UDP:n välillä?"),
    ("hu", "Hogyan rendezhetek egy listát Pythonban?"),
    ("ro", "Cum sortez o listă în Python?"),
    ("ro", "Care este diferența dintre TCP și UDP?"),
    ("tr", "Python'da bir listeyi nasıl sıralarım?"),
    ("tr", "TCP ile UDP arasındaki fark nedir?"),
    ("id", "Bagaimana cara mengurutkan daftar di Python?"),
    ("vi", "Làm thế nào để sắp xếp một danh sách trong Python?"),
    ("ru", "Как отсортировать список в Python?"),
    ("uk", "Як відсортувати список у Python?"),
    ("el", "Πώς ταξινομώ μια λίστα στην Python;"),
    ("ar", "كيف أرتب قائمة في بايثون؟"),
    ("he", "איך ממיינים רשימה בפייתון?"),
    ("hi", "मैं पायथन में सूची को कैसे क्रमबद्ध करूँ?"),
    ("zh", "如何在 Python 中对列表进行排序？"),
    ("ja", "Python でリストをソートするにはどうすればよいですか？"),
    ("ko", "파이썬에서 리스트를 어떻게 정렬하나요?"),
];

#[test]
fn a_short_question_is_enough() {
    let wrong: Vec<_> = PROMPTS
        .iter()
        .map(|(code, prompt)| (code, prompt, detect(prompt)))
        .filter(|(code, _, found)| !found.is_some_and(|(found, sure)| found == **code && sure >= 0.3))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_is_no_prose_is_in_no_language() {
    let code = "let x = foo(bar)?; println!(\"{x}\"); ".repeat(12);
    assert_eq!(detect(&code), None);
    assert_eq!(detect(&"q8zt-x77 kkw19 ".repeat(40)), None);
}
