"""The fourteen subjects of v0.3's domain labels, and where the questions of MMLU belong."""

DOMAINS = [
    "biology", "business", "chemistry", "computer science", "economics", "engineering", "health", "history",
    "law", "math", "other", "philosophy", "physics", "psychology",
]  # fmt: skip

MMLU = {
    "biology": ["college_biology", "high_school_biology"],
    "business": ["business_ethics", "management", "marketing", "professional_accounting", "public_relations"],
    "chemistry": ["college_chemistry", "high_school_chemistry"],
    "computer science": ["college_computer_science", "computer_security", "high_school_computer_science",
                         "machine_learning"],
    "economics": ["econometrics", "high_school_macroeconomics", "high_school_microeconomics"],
    "engineering": ["electrical_engineering"],
    "health": ["anatomy", "clinical_knowledge", "college_medicine", "human_aging", "medical_genetics", "nutrition",
               "professional_medicine", "virology"],
    "history": ["high_school_european_history", "high_school_us_history", "high_school_world_history",
                "prehistory"],
    "law": ["international_law", "jurisprudence", "professional_law"],
    "math": ["abstract_algebra", "college_mathematics", "elementary_mathematics", "high_school_mathematics",
             "high_school_statistics"],
    "other": ["global_facts", "high_school_geography", "high_school_government_and_politics", "human_sexuality",
              "miscellaneous", "security_studies", "sociology", "us_foreign_policy"],
    "philosophy": ["formal_logic", "logical_fallacies", "moral_disputes", "moral_scenarios", "philosophy",
                   "world_religions"],
    "physics": ["astronomy", "college_physics", "conceptual_physics", "high_school_physics"],
    "psychology": ["high_school_psychology", "professional_psychology"],
}  # fmt: skip
