"""What stands around the network in the graph: from bytes to the working size, and from logits to masks.

Everything a caller would have to do right is inside: resize, class merging, the image's own size.
"""

from __future__ import annotations

import onnx
from onnx import compose, inliner, parser

from distillfss.export.format import INPUT, IR_VERSION, LOGITS, MASK, OPSET, PROBABILITIES, WANTED
from distillfss.export.pixels import on_bytes
from distillfss.export.resampling import DOMAIN, FUNCTIONS

_HEADER = f'<ir_version: {IR_VERSION}, opset_import: ["" : {OPSET}, "{DOMAIN}" : 1]>'


MANY_CLASSES = 8
"""From so many on, only those are brought to the image's own size and compared there that can win anywhere in the
batch. With fewer, finding them takes longer than it saves."""


def _before(size: int) -> onnx.ModelProto:
    # an image that has its working size already is copied, not multiplied by a unit matrix
    model = parser.parse_model(f"""
{_HEADER}
before (uint8[batch, height, width, 3] {INPUT}) => (uint8[batch, rows, columns, 3] pixels, int64[2] own_size)
{{
    size = Constant <value = double {{{size}.0}}> ()
    own_size = Shape <start = 1, end = 3> ({INPUT})
    target = {DOMAIN}.working_size (own_size, size)
    sides_equal = Equal (own_size, target)
    sides_equal_int = Cast <to = 7> (sides_equal)
    both_equal = ReduceMin <keepdims = 0> (sides_equal_int)
    as_it_is = Cast <to = 9> (both_equal)
    pixels = If (as_it_is) <
        then_branch = copy () => (uint8[batch, rows, columns, 3] copied) {{
            copied = Identity ({INPUT})
        }},
        else_branch = resize () => (uint8[batch, rows, columns, 3] resized) {{
            levels = {DOMAIN}.to_working_size ({INPUT}, own_size, target)
            planes = Cast <to = 2> (levels)
            resized = Transpose <perm = [0, 2, 3, 1]> (planes)
        }}
    >
}}
""")
    model.functions.extend(parser.parse_function(text) for text in FUNCTIONS)
    return inliner.inline_local_functions(model)


_BINARY = f"""
    background, foreground = Split <axis = 1, num_outputs = 2> (raw)
    margin = Sub (foreground, background)
    one = Constant <value_ints = [1]> ()
    sizes = Concat <axis = 0> (batch, one, image_size)
    margins = Resize <mode = "linear", coordinate_transformation_mode = "half_pixel"> (margin, , , sizes)
    zero = Constant <value_float = 0.0> ()
    positive = Greater (margins, zero)
    flat = Squeeze (positive, one)
    {MASK} = Cast <to = 2> (flat)
    of_class = Sigmoid (margins)
    real_one = Constant <value_float = 1.0> ()
    of_background = Sub (real_one, of_class)
    {PROBABILITIES} = Concat <axis = 1> (of_background, of_class)
"""
"""Background and one class: only their difference matters, which is half to resize, and its sign is the mask."""


def _several(classes: int) -> str:
    at_own_size = _resized("raw", "full")
    if classes < MANY_CLASSES:
        return at_own_size + _of_all() + _probabilities(classes + 1, "")
    return _of_the_likely(classes + 1) + _probabilities(classes + 1, at_own_size)


def _of_all() -> str:
    return f"""
    highest = ArgMax <axis = 1, keepdims = 0> (full)
    {MASK} = Cast <to = 2> (highest)
"""


def _resized(maps: str, name: str) -> str:
    """Maps at the image's own size."""
    return f"""
    channels_{name} = Shape <start = 1, end = 2> ({maps})
    sizes_{name} = Concat <axis = 0> (batch, channels_{name}, image_size)
    {name} = Resize <mode = "linear", coordinate_transformation_mode = "half_pixel"> ({maps}, , , sizes_{name})
"""


def _of_the_likely(channels: int) -> str:
    # Between pixels of the logits of which one class has all, no other can win. Where classes meet, one that is not
    # among the two likeliest of any of these pixels can win between them only if four or more meet.
    return f"""
    winner = ArgMax <axis = 1, keepdims = 1> (raw)
    number = Cast <to = 1> (winner)
    highest_around = MaxPool <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (number)
    negative = Neg (number)
    least_negative = MaxPool <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (negative)
    lowest_around = Neg (least_negative)
    meeting = Less (lowest_around, highest_around)
{_strongest("raw", "strongest", channels)}
    behind = Less (raw, strongest)
    nothing = Constant <value_float = -3.0e38> ()
    others = Where (behind, raw, nothing)
{_strongest("others", "second", channels)}
    wanted = Where (meeting, second, strongest)
    likely_here = GreaterOrEqual (raw, wanted)
    counted = Cast <to = 1> (likely_here)
    all_but_classes = Constant <value_ints = [0, 2, 3]> ()
    somewhere = ReduceMax <keepdims = 0> (counted, all_but_classes)
    places = NonZero (somewhere)
    first_axis = Constant <value_ints = [0]> ()
    likely_classes = Squeeze (places, first_axis)
    likely_logits = Gather <axis = 1> (raw, likely_classes)
{_resized("likely_logits", "likely_full")}
    highest = ArgMax <axis = 1, keepdims = 0> (likely_full)
    small = Cast <to = 2> (likely_classes)
    in_a_row = Constant <value_ints = [-1]> ()
    every_pixel = Reshape (highest, in_a_row)
    of_every_pixel = GatherElements (small, every_pixel)
    as_images = Shape (highest)
    {MASK} = Reshape (of_every_pixel, as_images)
"""


def _strongest(maps: str, name: str, channels: int) -> str:
    """The highest of all channels, (B, 1, h, w): runtimes find it three times as fast by pooling as by reducing."""
    return f"""
    axis_{name} = Constant <value_ints = [1]> ()
    deep_{name} = Unsqueeze ({maps}, axis_{name})
    pooled_{name} = MaxPool <kernel_shape = [{channels}, 1, 1], strides = [1, 1, 1]> (deep_{name})
    {name} = Squeeze (pooled_{name}, axis_{name})
"""


def _probabilities(channels: int, before: str) -> str:
    # a softmax in its parts, sums as products of matrices: along an axis that is not the last one, runtimes are several
    # times as fast with these
    return f"""
    {PROBABILITIES} = If ({WANTED}) <
        then_branch = compute () => (float[batch, {channels}, height, width] likely) {{
            {before}
            {_strongest("full", "most", channels)}
            below = Sub (full, most)
            weight = Exp (below)
            in_rows = Constant <value_ints = [0, {channels}, -1]> ()
            rows = Reshape (weight, in_rows)
            ones = Constant <value = float[1, {channels}] {{{", ".join(["1.0"] * channels)}}}> ()
            sums = MatMul (ones, rows)
            shape = Shape (most)
            total = Reshape (sums, shape)
            likely = Div (weight, total)
        }},
        else_branch = spare () => (float[batch, {channels}, height, width] none) {{
            no_shape = Constant <value_ints = [0, {channels}, 0, 0]> ()
            none = ConstantOfShape (no_shape)
        }}
    >
"""


def _after(classes: int) -> onnx.ModelProto:
    optional = "" if classes == 1 else f", bool {WANTED} = {{1}}"
    return parser.parse_model(f"""
{_HEADER}
after (float[batch, {classes + 1}, logit_rows, logit_columns] raw, int64[2] image_size{optional}) => (
    uint8[batch, height, width] {MASK},
    float[batch, {classes + 1}, height, width] {PROBABILITIES},
    float[batch, {classes + 1}, logit_rows, logit_columns] {LOGITS}
)
{{
    {LOGITS} = Identity (raw)
    batch = Shape <start = 0, end = 1> (raw)
{_BINARY if classes == 1 else _several(classes)}
}}
""")


def framed(network: onnx.ModelProto, size: int, classes: int) -> onnx.ModelProto:
    """The whole model.

    Parameters
    ----------
    network
        ``pixels`` float32 (B, 3, h, w), 0 to 255, to ``logits`` (B, n + 1, h', w').
    size
        Working resolution.
    classes
        Number of classes n.

    Returns
    -------
    ModelProto
        ``images`` uint8 (B, H, W, 3) to ``mask`` uint8 (B, H, W), ``probabilities`` float32 (B, n + 1, H, W) and
        ``logits`` float32 (B, n + 1, h', w'), the last at the network's own resolution. With
        several classes there is an optional input ``probabilities_wanted``; if false, ``probabilities`` is empty.
    """
    before, after = _before(size), _after(classes)
    inner = on_bytes(network)
    for model in (before, inner, after):
        del model.opset_import[:]
        model.opset_import.append(onnx.helper.make_opsetid("", OPSET))
    before = compose.add_prefix(before, "before/", rename_inputs=False, rename_outputs=False)
    inner = compose.add_prefix(inner, "network/", rename_inputs=True, rename_outputs=True)
    after = compose.add_prefix(after, "after/", rename_inputs=False, rename_outputs=False, rename_initializers=False)
    inside = compose.merge_models(before, inner, [("pixels", "network/pixels")])
    whole = compose.merge_models(
        inside,
        after,
        [("network/logits", "raw"), ("own_size", "image_size")],
        name="distillfss",
    )
    whole.ir_version = IR_VERSION
    del whole.opset_import[1:]  # one of each part
    for node in whole.graph.node:  # so that profiles and errors of runtimes say where
        node.name = node.name or node.output[0]
    return whole
