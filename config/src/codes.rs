//! Stable codes of findings, and what each means.

/// What a code means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Explanation {
    /// The code, such as `PCF001`.
    pub code: &'static str,
    /// In a few words.
    pub title: &'static str,
    /// What happens, and why it matters.
    pub why: &'static str,
    /// What to do.
    pub fix: &'static str,
}

/// The explanation of a code, in upper or lower case.
pub fn explain(code: &str) -> Option<&'static Explanation> {
    EXPLANATIONS.iter().find(|known| known.code.eq_ignore_ascii_case(code))
}

/// All codes in order.
pub fn explanations() -> &'static [Explanation] {
    EXPLANATIONS
}

macro_rules! codes {
    ($($name:ident = $code:literal, $title:literal, $why:literal, $fix:literal;)+) => {
        $(pub(crate) const $name: &str = $code;)+

        static EXPLANATIONS: &[Explanation] =
            &[$(Explanation { code: $code, title: $title, why: $why, fix: $fix }),+];
    };
}

codes! {
    LIMIT = "PCF001",
        "The document is too large",
        "Memory and time spent on a document are bounded: 16 MiB, 100 levels, 200 000 values with every alias counted as a copy, 64 MiB of text.",
        "Split the document, or write repeated values out once and refer to them by name instead of by alias.";
    NOT_UTF8 = "PCF002",
        "The file is not UTF-8",
        "YAML is read as UTF-8. The place of the first byte that is not is given.",
        "Save the file as UTF-8.";
    SYNTAX = "PCF003",
        "The file is not valid YAML",
        "Nothing after this place could be read, so other findings may follow once it is repaired.",
        "Compare the indentation with the line above; use spaces, never tabs; quote text that starts with one of `*&!%@` or contains `: `.";
    DUPLICATE_KEY = "PCF004",
        "A key is written twice",
        "The last value counts and the first is lost without a trace. Upstream says nothing.",
        "Remove one of the two.";
    MORE_DOCUMENTS = "PCF005",
        "The file holds more than one document",
        "Only the first document of a file is read. What follows `---` has no effect.",
        "Split the file.";
    NOT_A_MAPPING = "PCF006",
        "The document is not a mapping",
        "A configuration has the keys version, listeners, providers, routing and global at its top.",
        "Start from `config/examples/minimal.yaml`.";
    NOT_CANONICAL = "PCF007",
        "The file is not a canonical v0.3 configuration",
        "A v0.3 file has at least one of the keys `routing` and `global`. Files of v0.1 and v0.2 keep signals, decisions and models at the top level.",
        "Run `pintle config migrate`.";
    REMOVED_KEY = "PCF008",
        "The key was removed from the contract",
        "Earlier versions had this key; v0.3 refuses files that still carry it, because ignoring it would change what the file means.",
        "Move the value to the place named in the message, or run `pintle config migrate`.";
    UNKNOWN_KEY = "PCF009",
        "The key is not part of the contract",
        "It has no effect. Usually it is a typing error or sits one level too high or too low.",
        "Use the nearest known name, or remove the key.";
    WRONG_TYPE = "PCF010",
        "The value has the wrong type",
        "v0.3 refuses the file. A quoted number is text, not a number.",
        "Write the value in the type named in the message; remove or add quotes.";
    OUT_OF_RANGE = "PCF011",
        "A setting of Pintle is outside its bounds",
        "Limits and waits have bounds within which the product is tested.",
        "Choose a value within the bounds named in the message.";
    FRACTION_CUT = "PCF012",
        "A fraction is cut off",
        "The field holds whole numbers; upstream silently drops what follows the point.",
        "Write a whole number.";
    NOT_ACTED_ON = "PCF013",
        "Known, but without effect in Pintle",
        "The section is part of the contract and is checked and kept, but this version of Pintle does nothing with it.",
        "Nothing, if that is acceptable; otherwise keep the service that needs it.";
    BOOLEAN_WORD = "PCF014",
        "A bare word becomes true or false",
        "Under `global` the words yes, no, on, off, y and n are booleans even where text is expected, so the text becomes `true` or `false`.",
        "Quote the word.";
    LATER_VERSION = "PCF015",
        "The key belongs to a later version of the contract",
        "Upstream v0.3.0 ignores it with a warning; so does Pintle, but warns of values of the wrong type in it.",
        "Remove the key, or check that its absence is acceptable.";
    CARD = "PCF020",
        "A model card is invalid",
        "Every card needs a name of its own; everything else refers to models by it.",
        "Give each card a unique name.";
    DEFAULT_MODEL = "PCF021",
        "The default model does not exist",
        "`providers.defaults.default_model` names a model card or one of the LoRAs of a card.",
        "Add the card, or correct the name.";
    PROVIDER_MODEL = "PCF022",
        "A provider model is invalid",
        "Every entry of `providers.models` needs the name of a model card, and either a backend or metadata such as pricing.",
        "Add the card or the backend, or correct the name.";
    BACKEND = "PCF023",
        "A backend has no usable address",
        "Every entry of `backend_refs` needs `endpoint` or `base_url`, with a host.",
        "Write `endpoint: host:port`.";
    REASONING_FAMILY = "PCF024",
        "The reasoning family does not exist",
        "`reasoning_family` names an entry of `providers.defaults.reasoning_families`.",
        "Add the family, or correct the name.";
    MODEL_REF = "PCF025",
        "A candidate model is invalid",
        "Every entry of `modelRefs` needs a model; a `lora_name` must be declared on that model's card.",
        "Add the adapter to the card, or correct the name.";
    MODULE_REF = "PCF026",
        "A module refers to a model that does not exist",
        "`model_ref` names a key of `global.model_catalog.system` whose value is not empty.",
        "Correct the reference, or set `model_id`.";
    DOMAIN = "PCF030",
        "A domain is invalid",
        "MMLU categories come from a fixed list of 14, written with spaces.",
        "Use one of the names in the message.";
    STRUCTURE = "PCF031",
        "A structure rule is invalid",
        "Feature, source and predicate must fit each other.",
        "See `routing.signals.structure` in the configuration reference.";
    REASK = "PCF032",
        "A reask rule is invalid",
        "The threshold is in [0,1] and at least one earlier turn is compared.",
        "Correct the value.";
    CONVERSATION = "PCF033",
        "A conversation rule is invalid",
        "Feature, source, role and predicate must fit each other.",
        "See `routing.signals.conversation` in the configuration reference.";
    KB = "PCF034",
        "A knowledge base, or a signal on one, is invalid",
        "A kb signal names a knowledge base and one of its labels or groups. Writing any `kbs` list drops the built-in ones.",
        "Declare the knowledge base, or correct the name.";
    EMBEDDING = "PCF035",
        "An embedding rule is invalid",
        "Images need the multimodal model; audio is not available.",
        "Set query_modality to text, or the model type to multimodal.";
    MODALITY = "PCF036",
        "A modality rule is invalid",
        "The names are AR, DIFFUSION and BOTH, and a decision on BOTH needs models for both.",
        "Use one of the names; add candidates.";
    METADATA = "PCF037",
        "A metadata rule is invalid",
        "A rule has a name of its own, a key without space around it, and exactly one of equals, in and exists.",
        "Correct the rule.";
    PARTITION = "PCF040",
        "A partition is invalid",
        "Members are domains or embeddings, all of one kind; softmax needs a temperature above 0; the default is a member.",
        "Correct the partition.";
    SCORE = "PCF041",
        "A score is invalid",
        "A score is a weighted sum over declared signals, knowledge-base metrics or other scores, without a cycle.",
        "Correct the score.";
    MAPPING = "PCF042",
        "A mapping is invalid",
        "A mapping reads a declared score; each output has a unique name and at least one bound.",
        "Correct the mapping.";
    UNDECLARED = "PCF050",
        "A condition refers to something that is not declared",
        "Domains and projection outputs must exist, otherwise the file does not load.",
        "Declare it, or correct the name.";
    LATENCY = "PCF051",
        "Conditions of type latency were removed",
        "Latency is part of selection, not of rules.",
        "Use `algorithm: {type: latency_aware}`.";
    ALGORITHM = "PCF052",
        "The algorithm is invalid",
        "A decision has one algorithm, and the block of settings has the same name as its type.",
        "Keep one block, named like the type.";
    ITERATION = "PCF053",
        "A candidate iteration is invalid",
        "An iteration names a variable and reads `decision.candidates` or `models`.",
        "Correct the iteration.";
    EMIT = "PCF054",
        "An emit directive is invalid",
        "The only kind is retention, once per decision, and `drop` excludes `ttl_turns`.",
        "Correct the directive.";
    PLUGIN = "PCF055",
        "A plugin's settings are invalid",
        "Settings of rag, tools, tool_selection and image_gen are checked at load when the plugin is enabled.",
        "Correct the setting named in the message.";
    SWITCH_GATE = "PCF060",
        "The model switch gate is invalid",
        "The mode is shadow or enforce, and no number is negative.",
        "Correct the value.";
    TOOL_FILTER = "PCF061",
        "Advanced tool filtering is invalid",
        "Weights and thresholds are in [0,1], counts are not negative.",
        "Correct the value.";
    COMPRESSION = "PCF062",
        "The compression profile does not exist",
        "The name is checked even when compression is off.",
        "Use default, coding, medical, security or multi_turn.";
    MODALITY_DETECTOR = "PCF063",
        "The modality detector is invalid",
        "Each method needs its own settings: classifier a model, keyword keywords, hybrid either.",
        "Complete the settings.";
    LISTENER = "PCF064",
        "A listener cannot be bound",
        "Upstream leaves listeners to Envoy and never checks them; Pintle binds them itself.",
        "Write an address and a port from 1 to 65535, each pair once.";
    CANNOT_BUILD = "PCF065",
        "The rule loads but cannot be built",
        "Upstream accepts the file and then fails when it builds its classifier.",
        "Correct the expression, operator or binding named in the message.";
    PROVIDER_MODEL_ID = "PCF101",
        "The upstream model id is not looked up",
        "v0.3.0 stores `provider_model_id` under the backend's provider but looks it up under its `type`, and ignores it when `external_model_ids` is set; the logical name is sent instead. Pintle looks under type, provider, vllm and default in turn.",
        "Set `type` on the backend to the key under which the id is written.";
    NEVER_MATCHES = "PCF102",
        "The rule never matches",
        "An empty `rules` is no catch-all in the router, although the command line of upstream treats it as one.",
        "Write `rules: {operator: AND, conditions: []}` to match everything.";
    TIERS = "PCF103",
        "Decisions without a tier come before all tiers",
        "Once any matched decision has a tier, all are ordered by tier, and no tier is tier 0.",
        "Give every decision a tier, or none.";
    AUTO_DOMAIN = "PCF104",
        "The domain is generated, and matches only \"other\"",
        "No domains are declared, so each name in a condition becomes a domain with the category \"other\". As soon as one domain is declared, the same file no longer loads.",
        "Declare the domain with its `mmlu_categories`.";
    NULL_SECTION = "PCF105",
        "A null section switches its defaults off",
        "An explicit null sets every field below it to zero, empty or false; it does not mean \"as if absent\".",
        "Remove the key to keep the defaults, or write the fields out.";
    NO_BASE_URL = "PCF106",
        "The backend loads but cannot be reached",
        "With any of provider, auth_header, auth_prefix, extra_headers, api_version or chat_path set, only `base_url` counts as address; `endpoint` alone fails at the first request upstream.",
        "Write the address as `base_url`.";
    PORT_LOST = "PCF107",
        "The port of an endpoint is lost",
        "An IPv6 address without brackets swallows its port, and text after the last colon that is no number stays part of the host.",
        "Write `[address]:port`.";
    AUTHZ_NAME = "PCF108",
        "An authz condition names a binding instead of a role",
        "Conditions of type authz match the role of a binding, not its name.",
        "Use the role.";
    COMPLEXITY_LEVEL = "PCF109",
        "A complexity condition has no level",
        "The name is `<rule>:hard`, `:medium` or `:easy`; without one it never matches.",
        "Add the level.";
    ALWAYS_COUNTS = "PCF110",
        "A count without predicate always matches",
        "A conversation rule of type count without a predicate matches even at 0; structure rules do not.",
        "Add a predicate, or use `exists`.";
    CONTEXT_BOUND = "PCF111",
        "A context rule never matches",
        "An absent `max_tokens` counts as 0, and a bound that is not a number with optional K or M disables the rule.",
        "Write both bounds.";
    SELECTOR_SHARED = "PCF112",
        "Selector settings are not per decision",
        "Upstream keeps one selector per process: for most algorithms the first decision's block configures all, and for automix and hybrid the block of a decision is ignored altogether.",
        "Write the settings under `global.router.model_selection`, or make the blocks equal.";
    PLUGIN_DEAD = "PCF113",
        "The plugin has no effect",
        "Unknown spellings and types, plugins without configuration and repeated plugins are silently dead upstream. `semantic_cache` is dead, `semantic-cache` is not.",
        "Use the exact type, once, with a configuration.";
    KUBERNETES = "PCF114",
        "Validation is switched off",
        "With `config_source: kubernetes` upstream checks nothing at load. Pintle has no reconciler and reports what it would have refused.",
        "Use `config_source: file`.";
    DOLLAR = "PCF115",
        "Variables are not expanded",
        "v0.3.0 expands nothing but keys: a `${VAR}` elsewhere is literal text. Later versions expand every string, so that a single `$` changes its meaning.",
        "Write the value, or generate the file.";
    CONCURRENCY = "PCF116",
        "This setting throttles every request",
        "`batch_classification.max_concurrency` bounds signal evaluation of all requests, not only of the batch API.",
        "Remove it unless that is intended.";
    UNDECLARED_SIGNAL = "PCF117",
        "The condition never matches: nothing declares the signal",
        "v0.3.0 checks only domains, projections and knowledge bases; every other undeclared name loads and never matches.",
        "Declare the signal, or correct the name.";
    UNKNOWN_CONDITION = "PCF118",
        "The condition never matches: its type does not exist",
        "Unknown condition types load and never match.",
        "Use one of the types in the message.";
    NOT_ARITY = "PCF119",
        "NOT needs exactly one condition",
        "With none or several, the node never matches. It is not NOR.",
        "Write `NOT` over one `OR`.";
    OPERATOR = "PCF120",
        "The operator does not exist",
        "Anything but AND and NOT acts as OR, including XOR and NOR.",
        "Use AND, OR or NOT.";
    UNKNOWN_MODEL = "PCF121",
        "The candidate is not a known model",
        "v0.3.0 accepts a model that is in no card; requests then go nowhere.",
        "Add a card and a provider model, or correct the name.";
    DECISION_NAME = "PCF122",
        "The decision's name is missing or repeated",
        "Headers, metrics and overrides refer to decisions by name; the first of equal names wins.",
        "Give each decision a name of its own.";
    UNKNOWN_ALGORITHM = "PCF123",
        "The algorithm does not exist",
        "An unknown type without settings loads and acts as the default selector.",
        "Use one of the types in the message.";
    PROVIDER_TWICE = "PCF124",
        "A provider model is written twice",
        "The later entry wins for settings; the backends of both are kept.",
        "Merge the entries.";
    UNREACHABLE_MODEL = "PCF125",
        "The model has no backend",
        "A card without a backend is legal, but a decision that chooses it cannot be served.",
        "Add a backend, or remove the candidate.";
    THRESHOLD = "PCF126",
        "The threshold is outside 0 to 1",
        "v0.3.0 does not check thresholds; outside the range the rule matches always or never.",
        "Choose a value from 0 to 1.";
    PSEUDO_LISTENER = "PCF128",
        "The listener documents a port of upstream",
        "Listeners named grpc-50051 or http-8080 describe the router's own ports in Kubernetes files. Pintle does not bind them.",
        "Add a listener for clients.";
    PLAIN_KEY = "PCF130",
        "A key is written in the file",
        "Who can read the file can use the key.",
        "Use `api_key_env` and a systemd credential or environment file.";
    SWITCHES_OFF = "PCF131",
        "The service switches itself off",
        "Enabled without an address, the service is silently disabled at start-up.",
        "Give the address, or set `enabled: false`.";
    EMPTY_RETENTION = "PCF132",
        "The directive says nothing",
        "A retention block without fields, or with `ttl_turns: 0` and no `drop`, has no effect.",
        "Remove it, or say what to retain.";
    WORD_BOUNDARY = "PCF134",
        "The keyword can hardly match",
        "A keyword that contains a letter or digit is wrapped in word boundaries on both sides, so one that starts or ends with a symbol matches only next to a word character.",
        "Write `method: regex` and an expression.";
    PROVIDER_CHAIN = "PCF137",
        "The provider chain is replaced",
        "One invalid entry makes upstream fall back to its default credential chain, or switch rate limiting off, with a line in the log.",
        "Correct the type and its required fields.";
    UNKNOWN_CHOICE = "PCF139",
        "The value is not one of the known ones",
        "v0.3.0 does not check it at load; the default applies, or the service fails at start-up.",
        "Use one of the values in the message.";
    KEY_UNSET = "PCF150",
        "A key is not set",
        "The variable or credential that a backend names does not exist. Upstream sends an empty key.",
        "Set the variable, or load the credential with systemd.";
}
