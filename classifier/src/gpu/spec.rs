//! A network in the kernels' terms.

use pintle_config::{ClassifierHip, HipPrecision};
use pintle_hip::Size;
use pintle_hip::encoder::{
    Activation, BlockSpec, EncoderModel, EncoderSpec, HeadSpec, Linear, Norm, Number, Pooling,
};

use crate::encoder::Family;
use crate::model::config::{self, Task};
use crate::model::network::{self, Block, Head};
use crate::model::{Folder, Network};

/// Packs a model for GPUs, in host memory.
///
/// # Errors
///
/// What the kernels cannot do, in one sentence.
pub fn pack(folder: &Folder, settings: &ClassifierHip) -> Result<EncoderModel, String> {
    let network = &folder.network;
    let number = match settings.precision {
        HipPrecision::F16 => Number::F16,
        HipPrecision::Bf16 => Number::Bf16,
        HipPrecision::Auto if network.config.family == Family::ModernBert => Number::Bf16,
        HipPrecision::Auto => Number::F16,
    };
    let room = Size { sequences: settings.batch_texts.into(), tokens: settings.batch_tokens as usize };
    let spec = spec(network, folder.pooling)?;
    EncoderModel::new(&spec, number, room).map_err(|error| error.to_string())
}

fn spec(network: &Network, pool: config::Pooling) -> Result<EncoderSpec<'_>, String> {
    if network.blocks.iter().any(|block| block.rope.is_some_and(|rope| rope.yarn.is_some())) {
        return Err("no kernel for rotary positions that are scaled".to_owned());
    }
    let Network { config, words, places, embedding_norm, blocks, final_norm, head } = network;
    if activation(config.activation)? != Activation::Gelu {
        return Err(format!("no kernel for blocks with {:?}", config.activation));
    }
    Ok(EncoderSpec {
        hidden: config.hidden,
        heads: config.heads,
        intermediate: config.intermediate,
        positions: config.positions,
        gated: network.gated(),
        pre_norm: network.pre_norm(),
        words,
        places,
        embedding_norm: norm(embedding_norm),
        blocks: blocks.iter().map(block).collect(),
        final_norm: final_norm.as_ref().map(norm),
        pooling: pooling(pool),
        head: head.as_ref().map(head_spec).transpose()?,
    })
}

fn block(block: &Block) -> BlockSpec<'_> {
    BlockSpec {
        attention_norm: block.attention_norm.as_ref().map(norm),
        qkv: linear(&block.qkv),
        output: linear(&block.output),
        mlp_norm: norm(&block.mlp_norm),
        up: linear(&block.up),
        down: linear(&block.down),
        reach: block.reach,
        theta: block.rope.map(|rope| rope.theta),
    }
}

fn head_spec(head: &Head) -> Result<HeadSpec<'_>, String> {
    let dense = head.dense.as_ref().map(|(dense, by)| Ok::<_, String>((linear(dense), activation(*by)?)));
    Ok(HeadSpec {
        per_token: head.task == Task::Token,
        pooling: pooling(head.pooling),
        dense: dense.transpose()?,
        norm: head.norm.as_ref().map(norm),
        classifier: linear(&head.classifier),
    })
}

fn linear(linear: &network::Linear) -> Linear<'_> {
    Linear { outputs: linear.outputs, inputs: linear.inputs, weight: &linear.weight, bias: &linear.bias }
}

fn norm(norm: &network::Norm) -> Norm<'_> {
    Norm { gain: &norm.gain, bias: &norm.bias, epsilon: norm.epsilon }
}

fn pooling(pooling: config::Pooling) -> Pooling {
    match pooling {
        config::Pooling::First => Pooling::First,
        config::Pooling::Mean => Pooling::Mean,
    }
}

fn activation(activation: config::Activation) -> Result<Activation, String> {
    match activation {
        config::Activation::Gelu => Ok(Activation::Gelu),
        config::Activation::Tanh => Ok(Activation::Tanh),
        other => Err(format!("no kernel for {other:?}")),
    }
}
