//! Which operations are vertices, and which only pass values on.

/// Operations that move numbers about, or round them to another type, and compute nothing. Each is
/// linear and needs no settling: its error is always what its children's make it, so it costs no
/// relaxation step. Names are libtorch's, without `Backward` and what follows.
const COSTLESS: [&str; 49] = [
    "Alias",
    "AsStrided",
    "AsStridedScatter",
    "Cat",
    "Clone",
    "Contiguous",
    "Copy",
    "CopyBackwards",
    "Detach",
    "Diagonal",
    "Expand",
    "ExpandCopy",
    "Flip",
    "Lift",
    "LiftFresh",
    "MoveDim",
    "Narrow",
    "Permute",
    "PermuteCopy",
    "Repeat",
    "Reshape",
    "ReshapeAlias",
    "ReshapeCopy",
    "Roll",
    "Select",
    "SelectScatter",
    "Slice",
    "SliceScatter",
    "Split",
    "SplitWithSizes",
    "Squeeze",
    "SqueezeCopy",
    "Stack",
    "T",
    "TCopy",
    "To",
    "ToCopy",
    "ToDense",
    "ToMkldnn",
    "Transpose",
    "TransposeCopy",
    "Unbind",
    "Unflatten",
    "Unfold",
    "UnsafeSplit",
    "UnsafeSplitWithSizes",
    "UnsafeView",
    "Unsqueeze",
    "View",
];

/// Whether an operation only passes values on.
pub(super) fn is_costless(name: &str) -> bool {
    let name = name.rsplit("::").next().unwrap_or(name);
    let name = name.trim_end_matches(|c: char| c.is_ascii_digit());
    COSTLESS.binary_search(&name.strip_suffix("Backward").unwrap_or(name)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted() {
        assert!(COSTLESS.is_sorted());
    }

    #[test]
    fn names_as_libtorch_gives_them() {
        for name in [
            "TBackward0",
            "ViewBackward0",
            "TransposeBackward1",
            "UnsafeViewBackward0",
            "torch::autograd::CopyBackwards",
            "ToCopyBackward0",
        ] {
            assert!(is_costless(name), "{name}");
        }
        for name in [
            "AddmmBackward0",
            "TanhBackward0",
            "SumBackward1",
            "MulBackward0",
            "IndexBackward0",
            "EmbeddingBackward0",
            "torch::autograd::CopySlices",
        ] {
            assert!(!is_costless(name), "{name}");
        }
    }
}
