use super::super::proto::build::{message, number};
use super::*;

/// A node of a graph, with whole numbers as attributes.
fn node(operator: &str, inputs: &[&str], outputs: &[&str], attributes: &[(&str, &[i64])]) -> Vec<u8> {
    let mut parts: Vec<Vec<u8>> = inputs.iter().map(|name| message(NODE_INPUT, name.as_bytes())).collect();
    parts.extend(outputs.iter().map(|name| message(NODE_OUTPUT, name.as_bytes())));
    parts.push(message(NODE_TYPE, operator.as_bytes()));
    for (name, values) in attributes {
        let mut attribute = message(ATTRIBUTE_NAME, name.as_bytes());
        match values {
            [one] if *name != "axes" && *name != "perm" => {
                attribute.extend(number(ATTRIBUTE_INT, one.cast_unsigned()));
            }
            several => {
                several.iter().for_each(|n| attribute.extend(number(ATTRIBUTE_INTS, n.cast_unsigned())))
            }
        }
        parts.push(message(NODE_ATTRIBUTE, &attribute));
    }
    message(GRAPH_NODE, &parts.concat())
}

fn written(name: &str, kind: i64, dims: &[i64], raw: &[u8]) -> Vec<u8> {
    let mut parts: Vec<Vec<u8>> = dims.iter().map(|size| number(TENSOR_DIMS, size.cast_unsigned())).collect();
    parts.push(number(TENSOR_TYPE, kind.cast_unsigned()));
    parts.push(message(TENSOR_NAME, name.as_bytes()));
    parts.push(message(TENSOR_RAW, raw));
    parts.concat()
}

/// An initializer of floats, whose contents nobody looks at.
fn floats(name: &str, dims: &[i64]) -> Vec<u8> {
    message(GRAPH_INITIALIZER, &written(name, 1, dims, &[]))
}

/// An initializer with the numbers of a vector.
fn whole(name: &str, numbers: &[i64]) -> Vec<u8> {
    let raw: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
    message(GRAPH_INITIALIZER, &written(name, INT64, &[numbers.len() as i64], &raw))
}

fn scalar(name: &str, n: i64) -> Vec<u8> {
    message(GRAPH_INITIALIZER, &written(name, INT64, &[], &n.to_le_bytes()))
}

/// With `ids` as its input.
fn parse(parts: &[Vec<u8>], longest: usize) -> Result<Sizes, LoadError> {
    let input = message(GRAPH_INPUT, &message(INPUT_NAME, b"ids"));
    Sizes::parse(&message(MODEL_GRAPH, &[parts.concat(), input].concat()), longest)
}

/// Elements of a run on 100 tokens.
fn elements(parts: &[Vec<u8>]) -> Result<u64, String> {
    parse(parts, 1000).map_err(|error| error.to_string())?.elements(100)
}

fn why(parts: &[Vec<u8>]) -> String {
    elements(parts).expect_err("refused")
}

/// What a layer makes of inputs of these shapes, with these words as attributes, and what it needs besides.
fn layer(
    operator: &str,
    inputs: &[&[u64]],
    numbers: &[(&str, &[i64])],
    words: &[(&str, &str)],
) -> Result<(Vec<Vec<u64>>, u64), String> {
    let known: Vec<Known> = inputs.iter().map(|dims| Known::of(dims)).collect();
    let inputs: Vec<Option<&Known>> = known.iter().map(Some).collect();
    let mut attributes = Attributes::default();
    for (name, list) in numbers {
        attributes.numbers.insert((*name).to_owned(), list.to_vec());
    }
    for (name, word) in words {
        let text = [message(ATTRIBUTE_NAME, name.as_bytes()), message(ATTRIBUTE_STRING, word.as_bytes())];
        attributes.read(&text.concat()).unwrap();
    }
    let made = rules::apply(operator, &inputs, &attributes, 1)?;
    Ok((made.outputs.into_iter().map(|known| known.dims).collect(), made.besides))
}

#[test]
fn layers_make_what_the_specification_says_and_need_room_besides() {
    let einsum = |equation, inputs: &[&[u64]]| layer("Einsum", inputs, &[], &[("equation", equation)]);
    let (q, k): (&[u64], &[u64]) = (&[2, 4, 5, 8], &[2, 4, 7, 8]);
    assert_eq!(einsum("bhid,bhjd->bhij", &[q, k]), Ok((vec![vec![2, 4, 5, 7]], 320 + 448 + 280)));
    assert_eq!(einsum("b h i d -> b i h d", &[q]).unwrap().0, [[2, 5, 4, 8]]);
    assert_eq!(einsum("ij,jk", &[&[3, 4], &[4, 6]]).unwrap().0, [[3, 6]]);
    assert_eq!(einsum("ij,j->", &[&[3, 4], &[4]]).unwrap().0, [[0u64; 0]]);
    assert_eq!(einsum("ij,jk->ik", &[&[3, 1], &[4, 6]]).unwrap().0, [[3, 6]]);
    for (equation, inputs) in [
        ("...i->i", &[&[3u64, 4][..]][..]),
        ("ij->ik", &[&[3, 4]]),
        ("ij,jk->ik", &[&[3, 4]]),
        ("ij,jk->ik", &[&[3, 4], &[5, 6]]),
        ("ijk->i", &[&[3, 4]]),
        ("i,i,i->i", &[&[3], &[3], &[3]]),
    ] {
        assert!(einsum(equation, inputs).is_err(), "{equation}");
    }

    assert!(einsum(&format!("i->{}", "i".repeat(1000)), &[&[3]]).unwrap_err().contains("1003 bytes"));

    let conv = |numbers: &[(&str, &[i64])], words: &[(&str, &str)]| {
        layer("Conv", &[&[1, 8, 100], &[16, 8, 3]], numbers, words)
    };
    assert_eq!(conv(&[], &[]), Ok((vec![vec![1, 16, 98]], 8 * 3 * 98)));
    assert_eq!(conv(&[("pads", &[1, 1])], &[]).unwrap().0, [[1, 16, 100]]);
    assert_eq!(conv(&[("strides", &[2]), ("dilations", &[3])], &[]).unwrap().0, [[1, 16, 47]]);
    assert_eq!(conv(&[("strides", &[3])], &[("auto_pad", "SAME_UPPER")]).unwrap().0, [[1, 16, 34]]);
    assert_eq!(conv(&[("pads", &[5, 5])], &[("auto_pad", "VALID")]).unwrap().0, [[1, 16, 98]]);
    assert!(conv(&[("strides", &[0])], &[]).is_err() && conv(&[("pads", &[1])], &[]).is_err());
    assert!(conv(&[], &[("auto_pad", "MAYBE")]).is_err());
    let square = layer("Conv", &[&[2, 6, 9, 7], &[6, 1, 3, 3]], &[("group", &[6])], &[]);
    assert_eq!(square, Ok((vec![vec![2, 6, 7, 5]], 9 * 35)));
    assert_eq!(layer("Conv", &[&[1, 8, 2], &[16, 8, 3]], &[], &[]).unwrap().0, [[1, 16, 0]]);

    let sequence: &[u64] = &[50, 1, 32];
    let lstm = layer("LSTM", &[sequence, &[2, 4 * 24, 32], &[2, 4 * 24, 24]], &[], &[]);
    let last = vec![2, 1, 24];
    assert_eq!(lstm, Ok((vec![vec![50, 2, 1, 24], last.clone(), last], 50 * 2 * 96)));
    let gru = layer("GRU", &[sequence, &[1, 3 * 24, 32], &[1, 3 * 24, 24]], &[], &[]);
    assert_eq!(gru.unwrap().0, [vec![50, 1, 1, 24], vec![1, 1, 24]]);
    assert!(layer("GRU", &[sequence, &[1, 72, 32]], &[("layout", &[1])], &[]).is_err());
    assert!(layer("LSTM", &[&[50, 32], &[1, 96, 32]], &[], &[]).is_err());
}

/// What a node makes of inputs of these shapes, or with these numbers.
fn made(operator: &str, inputs: &[(&[i64], Option<&[i64]>)], attributes: &[(&str, &[i64])]) -> Vec<u64> {
    let mut parts = Vec::new();
    let names: Vec<String> = (0..inputs.len()).map(|at| format!("in{at}")).collect();
    for ((dims, numbers), name) in inputs.iter().zip(&names) {
        parts.push(match numbers {
            Some([n]) if dims.is_empty() => scalar(name, *n),
            Some(numbers) => whole(name, numbers),
            None => floats(name, dims),
        });
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    parts.push(node(operator, &names, &["out"], attributes));
    let sizes = parse(&parts, 10).unwrap();
    let inputs: Vec<Option<Known>> = sizes.constants.iter().map(|(_, known)| Some(known.clone())).collect();
    let inputs: Vec<Option<&Known>> = inputs.iter().map(Option::as_ref).collect();
    let made = rules::apply(operator, &inputs, &sizes.nodes[0].attributes, 1);
    made.unwrap_or_else(|why| panic!("{operator}: {why}")).outputs.remove(0).dims
}

#[test]
fn rules_are_those_of_the_specification() {
    let x: (&[i64], Option<&[i64]>) = (&[2, 3, 4], None);
    let v = |numbers: &'static [i64]| -> (&'static [i64], Option<&'static [i64]>) { (&[], Some(numbers)) };
    let list =
        |numbers: &'static [i64]| -> (&'static [i64], Option<&'static [i64]>) { (&[0], Some(numbers)) };
    assert_eq!(made("Add", &[x, (&[5, 1, 1, 4], None)], &[]), [5, 2, 3, 4]);
    assert_eq!(made("Softmax", &[x], &[("axis", &[-1])]), [2, 3, 4]);
    assert_eq!(made("MatMul", &[x, (&[4, 7], None)], &[]), [2, 3, 7]);
    assert_eq!(made("MatMul", &[(&[6, 1, 3, 4], None), (&[5, 4, 7], None)], &[]), [6, 5, 3, 7]);
    assert_eq!(made("MatMul", &[(&[4], None), (&[2, 4, 7], None)], &[]), [2, 7]);
    assert_eq!(
        made("Gemm", &[(&[4, 2], None), (&[7, 4], None)], &[("transA", &[1]), ("transB", &[1])]),
        [2, 7]
    );
    assert_eq!(made("ReduceMean", &[x], &[("axes", &[-1])]), [2, 3, 1]);
    assert_eq!(made("ReduceSum", &[x, list(&[0, 2])], &[("keepdims", &[0])]), [3]);
    assert_eq!(made("ReduceMax", &[x], &[("keepdims", &[0])]), [0u64; 0]);
    assert_eq!(made("ArgMax", &[x], &[("axis", &[1]), ("keepdims", &[0])]), [2, 4]);
    assert_eq!(made("Reshape", &[x, list(&[0, -1])], &[]), [2, 12]);
    assert_eq!(made("Flatten", &[x], &[("axis", &[2])]), [6, 4]);
    assert_eq!(made("Transpose", &[x], &[("perm", &[2, 0, 1])]), [4, 2, 3]);
    assert_eq!(made("Transpose", &[x], &[]), [4, 3, 2]);
    assert_eq!(made("Unsqueeze", &[x, list(&[0, -1])], &[]), [1, 2, 3, 4, 1]);
    assert_eq!(made("Squeeze", &[(&[1, 3, 1], None), list(&[0])], &[]), [3, 1]);
    assert_eq!(made("Squeeze", &[(&[1, 3, 1], None)], &[]), [3]);
    assert_eq!(made("Expand", &[(&[3, 1], None), list(&[2, 1, 4])], &[]), [2, 3, 4]);
    assert_eq!(made("Tile", &[x, list(&[1, 2, 3])], &[]), [2, 6, 12]);
    assert_eq!(made("Pad", &[x, list(&[0, 0, 1, 0, 0, 2])], &[]), [2, 3, 7]);
    assert_eq!(made("Range", &[v(&[3]), v(&[10]), v(&[2])], &[]), [4]);
    assert_eq!(made("Range", &[v(&[3]), v(&[-4]), v(&[-2])], &[]), [4]);
    assert_eq!(made("Concat", &[x, (&[2, 5, 4], None)], &[("axis", &[-2])]), [2, 8, 4]);
    assert_eq!(made("Slice", &[x, list(&[1]), list(&[i64::MAX]), list(&[1])], &[]), [2, 2, 4]);
    assert_eq!(made("Slice", &[x, list(&[-1]), list(&[i64::MIN]), list(&[2]), list(&[-3])], &[]), [2, 3, 2]);
    assert_eq!(made("Gather", &[x, (&[5, 6], None)], &[("axis", &[1])]), [2, 5, 6, 4]);
    assert_eq!(made("GatherND", &[x, (&[5, 2], None)], &[]), [5, 4]);
    assert_eq!(made("GatherElements", &[x, (&[2, 1, 4], None)], &[]), [2, 1, 4]);
    assert_eq!(made("Split", &[x, list(&[1, 2])], &[("axis", &[1])]), [2, 1, 4]);
    assert_eq!(made("OneHot", &[x, v(&[9]), list(&[0, 1])], &[]), [2, 3, 4, 9]);
    assert_eq!(made("TopK", &[x, list(&[2])], &[]), [2, 3, 2]);
    assert_eq!(made("ConstantOfShape", &[list(&[3, 2])], &[]), [3, 2]);
    assert_eq!(made("MatMulNBits", &[x, (&[7, 1, 2], None)], &[("K", &[4]), ("N", &[7])]), [2, 3, 7]);
    assert_eq!(made("Shape", &[x], &[("start", &[1])]), [2]);
}

/// The way exporters shape scores: the sizes are taken from the text, changed and put together again.
#[test]
fn numbers_are_followed_from_a_shape_to_a_shape() {
    let graph = [
        floats("table", &[50, 64]),
        scalar("one", 1),
        whole("first", &[0]),
        whole("heads", &[4]),
        whole("rest", &[-1]),
        whole("ones", &[1, 1, 1, 1]),
        node("Gather", &["table", "ids"], &["x"], &[]),
        node("Shape", &["ids"], &["shape"], &[]),
        node("Gather", &["shape", "one"], &["length"], &[]),
        node("Unsqueeze", &["length", "first"], &["lengths"], &[]),
        node("Concat", &["first_size", "lengths", "heads", "rest"], &["split"], &[("axis", &[0])]),
        node("Reshape", &["x", "split"], &["by_head"], &[]),
        node("Transpose", &["by_head"], &["rows"], &[("perm", &[0, 2, 1, 3])]),
        node("Transpose", &["by_head"], &["columns"], &[("perm", &[0, 2, 3, 1])]),
        node("MatMul", &["rows", "columns"], &["scores"], &[]),
        // A shape with -1 in it is that of ones where it says so.
        node("Concat", &["rest", "heads", "lengths", "lengths"], &["maybe"], &[("axis", &[0])]),
        node("Equal", &["maybe", "rest"], &["which"], &[]),
        node("Where", &["which", "ones", "maybe"], &["sure"], &[]),
        node("Expand", &["scores", "sure"], &["stretched"], &[]),
    ];
    let graph = [&[whole("first_size", &[1])][..], &graph].concat();
    let once = 100 * 64;
    let scores = 4 * 100 * 100;
    // Shapes and their parts besides.
    assert_eq!(elements(&graph).unwrap(), 4 * once + 2 * scores + (2 + 1 + 1 + 4) + 3 * 4);
}

#[test]
fn what_a_size_is_made_of_must_be_known() {
    let of_ids = |operator: &str, attributes: &[(&str, &[i64])]| {
        [
            node("Cast", &["ids"], &["n"], &[("to", &[7])]),
            whole("two", &[2, 2]),
            node(operator, &["two", "n"], &["out"], attributes),
        ]
    };
    for operator in ["Expand", "Tile", "Reshape"] {
        assert!(why(&of_ids(operator, &[])).contains("what it computes from the text"), "{operator}");
    }
    // A float that looks whole is no size: it may have been divided.
    let halves = [
        scalar("n", 7),
        node("Cast", &["n"], &["f"], &[("to", &[1])]),
        node("Range", &["f", "f", "f"], &["out"], &[]),
    ];
    assert!(why(&halves).contains("what it computes"));
    // Where 32 bits do not hold it, the runtime has another number.
    let wide = [
        whole("n", &[1 << 20]),
        node("Mul", &["n", "n"], &["m"], &[]),
        node("ConstantOfShape", &["m"], &["out"], &[]),
    ];
    assert!(why(&wide).contains("what it computes"));
    for operator in ["Loop", "If", "Scan", "NonZero", "RandomNormal", "Resize", "Whatever"] {
        let why = why(&[node(operator, &["ids"], &["out"], &[])]);
        assert!(why.contains(operator) && why.contains("not known"), "{why}");
    }
}

#[test]
fn everything_that_is_made_is_bounded_whatever_makes_it() {
    let k = 1 << 14;
    let (tall, wide) = (floats("tall", &[k, 1]), floats("wide", &[1, k]));
    for operator in ["Add", "MatMul", "Where"] {
        let inputs: &[&str] = if operator == "Where" { &["tall", "wide", "tall"] } else { &["tall", "wide"] };
        let why = why(&[tall.clone(), wide.clone(), node(operator, inputs, &["out"], &[])]);
        assert!(why.contains(operator) && why.contains("268435456 elements"), "{why}");
    }
    let doubled: Vec<Vec<u8>> = (0..30)
        .map(|n| {
            let (from, to) = (format!("x{n}"), format!("x{}", n + 1));
            node("Concat", &[&from, &from], &[&to], &[("axis", &[0])])
        })
        .collect();
    let start = floats("x0", &[1000]);
    assert_eq!(elements(&[&[start.clone()][..], &doubled[..10]].concat()), Ok(1000 * (2048 - 2)));
    assert!(why(&[&[start][..], &doubled].concat()).contains("Concat"));
    // Each is within its bound, all together are not.
    let many: Vec<Vec<u8>> = (0..40).map(|n| node("Abs", &["large"], &[&format!("x{n}")], &[])).collect();
    assert!(why(&[&[floats("large", &[1 << 25])][..], &many].concat()).contains("in all"));
    for operator in ["Tile", "ConstantOfShape", "Pad", "Expand", "OneHot"] {
        let huge = i64::from(i32::MAX);
        let (first, second) = match operator {
            "ConstantOfShape" => (whole("a", &[huge]), whole("b", &[1])),
            "Pad" => (floats("a", &[1]), whole("b", &[0, huge])),
            _ => (floats("a", &[1]), whole("b", &[huge])),
        };
        let why = why(&[first, second, node(operator, &["a", "b"], &["out"], &[])]);
        assert!(why.contains(operator) && why.contains("elements for 100 tokens"), "{why}");
    }
}

#[test]
fn the_longest_text_is_one_that_fits() {
    // Every token beside every other, 4096 times.
    let graph = [
        floats("many", &[4096, 1, 1]),
        whole("back", &[2]),
        node("Unsqueeze", &["ids", "back"], &["column"], &[]),
        node("Mul", &["column", "ids"], &["pairs"], &[]),
        node("Mul", &["pairs", "many"], &["out"], &[]),
    ];
    let sizes = parse(&graph, 1000).unwrap();
    // 128 * 128 * 4096 is the bound of one tensor.
    assert_eq!(sizes.longest().unwrap(), 128);
    assert!(sizes.admit(128).is_ok() && sizes.admit(129).is_err() && sizes.admit(1001).is_err());
    let sizes = parse(&graph, 100).unwrap();
    assert_eq!(sizes.longest().unwrap(), 100);
    assert!(
        parse(&[floats("many", &[1 << 26, 1]), node("Mul", &["many", "ids"], &["out"], &[])], 100)
            .unwrap()
            .longest()
            .is_err()
    );
}

#[test]
fn nothing_is_said_twice_or_before_its_turn() {
    let refused = |parts: &[Vec<u8>], what: &str| {
        let error = parse(parts, 10).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    };
    refused(&[node("Abs", &["later"], &["out"], &[])], "nothing before it gives");
    refused(&[node("Abs", &["ids"], &["a"], &[]), node("Abs", &["ids"], &["a"], &[])], "two values called");
    refused(&[node("Abs", &["ids"], &["ids"], &[])], "two values called");
    refused(&[node("Concat", &["ids"], &["a"], &[("axis", &[0]), ("axis", &[1])])], "several values");
    let both =
        [message(ATTRIBUTE_NAME, b"axis"), number(ATTRIBUTE_INTS, 0), number(ATTRIBUTE_INT, 1)].concat();
    let parts = [message(NODE_TYPE, b"Concat"), message(NODE_ATTRIBUTE, &both)].concat();
    refused(&[message(GRAPH_NODE, &parts)], "several values");
    let constant = node("Constant", &[], &["a"], &[("value_int", &[5]), ("value_ints", &[5, 6])]);
    assert!(why(&[constant]).contains("several values"));
    let graph = message(MODEL_GRAPH, &node("Abs", &["ids"], &["out"], &[]));
    assert!(Sizes::parse(&[graph.clone(), graph].concat(), 10).is_err());
}
