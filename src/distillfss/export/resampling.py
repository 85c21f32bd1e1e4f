"""``preprocess.at_working_size`` as ONNX operators, to the last bit.

ONNX has an antialiased Resize, but runtimes disagree about it: OpenVINO leaves the antialiasing out, ONNX Runtime
rounds differently from PyTorch. So it is written out: a resize along one axis is a product with a matrix, which is zero
but for a band along its diagonal. Cut into blocks of 32 output rows, each meets a short window of the input only, and
the work stays linear in the image. All sums are of integers that float32 holds exactly; where the image shrinks to less
than a quarter, weights are finer than that, and their upper and lower bits are summed apart.

The matrix is PyTorch's (Pillow's) triangle filter. With input length N and output length M, the weight of input j for
output i is proportional to ``max(0, 2 max(N, M) - |(2 j + 1) M - (2 i + 1) N|)``, in integers. PyTorch rounds weights
to 16 bits with as many binary places as the largest one allows, and pixels to bytes after each axis; so does this.
"""

from __future__ import annotations

DOMAIN = "distillfss"
"""Of the local functions; they are inlined before a file is written."""

WORKING_SIZE = f"""
<domain: "{DOMAIN}", opset_import: ["" : 18]>
working_size (hw, size) => (target)
{{
    height_width = Cast <to = 11> (hw)
    zero = Constant <value_int = 0> ()
    one = Constant <value_int = 1> ()
    height = Gather (height_width, zero)
    width = Gather (height_width, one)
    ratio = Div (width, height)
    slimmest = Constant <value = double {{0.0625}}> ()
    widest = Constant <value = double {{16.0}}> ()
    at_least = Max (ratio, slimmest)
    aspect = Min (at_least, widest)
    root = Sqrt (aspect)
    tall = Div (size, root)
    wide = Mul (size, root)
    axis = Constant <value_ints = [0]> ()
    tall_1 = Unsqueeze (tall, axis)
    wide_1 = Unsqueeze (wide, axis)
    sides = Concat <axis = 0> (tall_1, wide_1)
    grid = Constant <value = double {{32.0}}> ()
    cells = Div (sides, grid)
    whole = Round (cells)
    none = Constant <value = double {{1.0}}> ()
    some = Max (whole, none)
    pixels = Mul (some, grid)
    target = Cast <to = 7> (pixels)
}}
"""
"""``geometry.working_size``: (height, width) int64 (2,) and the size as double to the working size int64 (2,)."""

RESAMPLE = f"""
<domain: "{DOMAIN}", opset_import: ["" : 18]>
resample (planes, to) => (out)
{{
    zero = Constant <value_int = 0> ()
    one = Constant <value_int = 1> ()
    two = Constant <value_int = 2> ()
    block = Constant <value_int = 32> ()
    axis_0 = Constant <value_ints = [0]> ()
    axis_1 = Constant <value_ints = [1]> ()
    axis_2 = Constant <value_ints = [2]> ()
    shape = Shape (planes)
    have = Gather (shape, one)
    larger = Max (have, to)
    reach = Mul (two, larger)

    block_step = Mul (block, have)
    span_filter = Add (block_step, reach)
    span_floor = Div (span_filter, to)
    span_whole = Add (span_floor, two)
    span = Min (span_whole, have)
    block_count = Div (to, block)
    blocks = Range (zero, block_count, one)
    centres = Mul (blocks, block_step)
    from_times_to = Sub (centres, larger)
    from_floor = Div (from_times_to, to)
    from_inside = Max (from_floor, zero)
    last = Sub (have, span)
    from = Min (from_inside, last)
    from_1 = Unsqueeze (from, axis_1)
    within = Range (zero, span, one)
    window = Add (from_1, within)

    i = Range (zero, to, one)
    i_2 = Mul (i, two)
    i_odd = Add (i_2, one)
    i_place = Mul (i_odd, have)
    by_block = Constant <value_ints = [-1, 32, 1]> ()
    centre = Reshape (i_place, by_block)
    j_2 = Mul (window, two)
    j_odd = Add (j_2, one)
    j_place = Mul (j_odd, to)
    place = Unsqueeze (j_place, axis_1)
    offset = Sub (place, centre)
    distance = Abs (offset)
    nearness = Sub (reach, distance)
    share = Max (nearness, zero)
    total = ReduceSum <keepdims = 1> (share, axis_2)
    share_real = Cast <to = 11> (share)
    total_real = Cast <to = 11> (total)
    exact = Div (share_real, total_real)

    largest = ReduceMax <keepdims = 0> (exact)
    limit = Constant <value = double {{32767.5}}> ()
    room = Div (limit, largest)
    room_log = Log (room)
    log_2 = Constant <value = double {{0.6931471805599453}}> ()
    room_bits = Div (room_log, log_2)
    bits_above = Ceil (room_bits)
    real_one = Constant <value = double {{1.0}}> ()
    bits_free = Sub (bits_above, real_one)
    most = Constant <value = double {{22.0}}> ()
    bits = Min (bits_free, most)
    base = Constant <value = double {{2.0}}> ()
    unit = Pow (base, bits)
    half = Constant <value = double {{0.5}}> ()
    scaled = Mul (exact, unit)
    scaled_up = Add (scaled, half)
    rounded = Floor (scaled_up)
    weight = Div (rounded, unit)
    weights = Cast <to = 1> (weight)

    windows = Gather <axis = 1> (planes, window)
    windows_real = Cast <to = 1> (windows)
    held_exactly = Constant <value = double {{16.5}}> ()
    too_fine = Greater (bits, held_exactly)
    levels = If (too_fine) <
        then_branch = split () => (float[count_s, blocks_s, rows_s, columns_s] levels_split) {{
            parts = Constant <value = double {{256.0}}> ()
            in_parts = Div (rounded, parts)
            high = Floor (in_parts)
            high_up = Mul (high, parts)
            low = Sub (rounded, high_up)
            high_real = Cast <to = 1> (high)
            low_real = Cast <to = 1> (low)
            high_sums = MatMul (high_real, windows_real)
            low_sums = MatMul (low_real, windows_real)
            high_whole = Cast <to = 7> (high_sums)
            low_whole = Cast <to = 7> (low_sums)
            parts_whole = Constant <value_int = 256> ()
            high_scaled = Mul (high_whole, parts_whole)
            sums_whole = Add (high_scaled, low_whole)
            unit_whole = Cast <to = 7> (unit)
            half_unit = Div (unit_whole, two)
            sums_whole_up = Add (sums_whole, half_unit)
            levels_whole = Div (sums_whole_up, unit_whole)
            levels_split = Cast <to = 1> (levels_whole)
        }},
        else_branch = plain () => (float[count_p, blocks_p, rows_p, columns_p] levels_plain) {{
            sums = MatMul (weights, windows_real)
            half_real = Constant <value_float = 0.5> ()
            sums_up = Add (sums, half_real)
            levels_plain = Floor (sums_up)
        }}
    >
    count = Gather (shape, axis_0)
    columns = Gather (shape, axis_2)
    to_1 = Unsqueeze (to, axis_0)
    out_shape = Concat <axis = 0> (count, to_1, columns)
    out = Reshape (levels, out_shape)
}}
"""
"""Resize bytes (n, N, columns) along the second axis to (n, M, columns), M a multiple of 32; whole float32 levels."""

TO_WORKING_SIZE = f"""
<domain: "{DOMAIN}", opset_import: ["" : 18, "{DOMAIN}" : 1]>
to_working_size (images, hw, target) => (pixels)
{{
    zero = Constant <value_int = 0> ()
    one = Constant <value_int = 1> ()
    any = Constant <value_ints = [-1]> ()
    axis_0 = Constant <value_ints = [0]> ()
    axis_1 = Constant <value_ints = [1]> ()
    colours = Constant <value_ints = [3]> ()
    shape = Shape (images)
    batch = Gather (shape, axis_0)
    height = Gather (hw, axis_0)
    width = Gather (hw, axis_1)
    height_to = Gather (target, zero)
    width_to = Gather (target, one)
    height_to_1 = Gather (target, axis_0)
    width_to_1 = Gather (target, axis_1)

    planes = Transpose <perm = [0, 3, 1, 2]> (images)
    rows_shape = Concat <axis = 0> (any, width)
    rows = Reshape (planes, rows_shape)
    columns = Transpose <perm = [1, 0]> (rows)
    columns_1 = Unsqueeze (columns, axis_0)
    narrowed = {DOMAIN}.resample (columns_1, width_to)
    narrowed_bytes = Cast <to = 2> (narrowed)
    narrow_shape = Concat <axis = 0> (width_to_1, any)
    narrow_columns = Reshape (narrowed_bytes, narrow_shape)
    narrow_rows = Transpose <perm = [1, 0]> (narrow_columns)
    plane_shape = Concat <axis = 0> (any, height, width_to_1)
    narrow_planes = Reshape (narrow_rows, plane_shape)
    shortened = {DOMAIN}.resample (narrow_planes, height_to)
    pixels_shape = Concat <axis = 0> (batch, colours, height_to_1, width_to_1)
    pixels = Reshape (shortened, pixels_shape)
}}
"""
"""Bytes (B, H, W, 3) to float32 (B, 3, h, w), 0 to 255. Columns first, as PyTorch does, in layouts without a gather by
pixel: the two transpositions are those of plain matrices, which runtimes are fast at."""

FUNCTIONS = (WORKING_SIZE, RESAMPLE, TO_WORKING_SIZE)
