//! What must hold for any files of a model, and for any text: a module to the fuzz targets and to the replay test.

#![allow(unreachable_pub)]

use pintle_classifier::encoder::Tokens;
use pintle_classifier::model::folder::{Files, Options, parse};
use pintle_classifier::model::tokenizer::Tokenizer;

const TOKENIZER: &str = include_str!("../../classifier/tests/golden/tokenizer.json");

/// A configuration, of as many bytes as the first two say, and weights: an error, or a network whose every tensor has
/// the shape that the configuration says.
pub fn model_load(data: &[u8]) {
    let Some((length, rest)) = data.split_first_chunk::<2>() else { return };
    let (config, weights) = rest.split_at(usize::from(u16::from_le_bytes(*length)).min(rest.len()));
    let files = Files { config, weights, tokenizer: TOKENIZER.as_bytes(), pooling: None, modules: None };
    let Ok(folder) = parse(files, Options::default()) else { return };
    let config = &folder.network.config;
    assert_eq!(folder.network.words.len(), config.vocabulary * config.hidden);
    assert_eq!(folder.network.blocks.len(), config.reach.len());
    for block in &folder.network.blocks {
        assert_eq!(block.qkv.weight.len(), 3 * config.hidden * config.hidden);
        assert_eq!(block.down.weight.len(), config.intermediate * config.hidden);
    }
}

/// A limit and a text: tokens within the limit whose offsets are characters' boundaries, in order.
pub fn model_text(data: &[u8]) {
    let Some((limit, text)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    thread_local! {
        static TOKENIZED: Tokenizer = Tokenizer::parse(TOKENIZER.as_bytes()).expect("the committed tokenizer");
    }
    let limit = 3 + usize::from(*limit);
    let mut tokens = Tokens::default();
    TOKENIZED.with(|tokenizer| tokenizer.tokenize(text, limit, &mut tokens)).expect("any text has tokens");
    assert!(tokens.len() <= limit && tokens.len() == tokens.offsets.len());
    let mut last = 0;
    for (start, end) in &tokens.offsets[1..tokens.len() - 1] {
        assert!(last <= *start && text.get(*start as usize..*end as usize).is_some());
        last = *start;
    }
}
