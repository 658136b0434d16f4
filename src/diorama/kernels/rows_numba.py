"""Rows of a table as vectors, for the Numba twins that interpolate: Numba alone would go number by number.

Twins work through blocks of points. First, without branches or gathers, they compute the corners of a whole block: for
corner k of point i the row it reads is `index[k * BLOCK + i]` and the weight of that row `share[k * BLOCK + i]`. Then
the rows are read or written, each as one short vector. Tables and gradients are contiguous float32; what the compiler
must know travels as the length of a tuple, which is part of its type: `corners` and `channels`.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

BLOCK = 256
"""Points whose corners are computed together: 16 KiB of rows and weights, which stays in the first cache."""


class _Rows:
    """Writes LLVM code that treats a row of the table as one vector."""

    def __init__(self, context, builder, signature, arguments):
        self.builder = builder
        self.data = [
            context.make_array(kind)(context, builder, value).data if isinstance(kind, types.Array) else value
            for kind, value in zip(signature.args, arguments, strict=True)
        ]
        self.corners, self.channels = (kind.count for kind in signature.args[-2:])
        self.vector = ir.VectorType(ir.FloatType(), self.channels)

    def row(self, array, position):
        """Address of the vector at a position counted in numbers."""
        return self.builder.bitcast(self.builder.gep(array, [position]), self.vector.as_pointer())

    def at_corners(self, table, index, share, slot):
        """Of each corner, the address of its row and its share in all lanes."""
        builder, lane = self.builder, ir.IntType(32)
        for corner in range(self.corners):
            place = builder.add(slot, ir.Constant(slot.type, corner * BLOCK))
            entry = builder.zext(builder.load(builder.gep(index, [place])), ir.IntType(64))
            address = self.row(table, builder.mul(entry, ir.Constant(ir.IntType(64), self.channels)))
            one = builder.load(builder.gep(share, [place]))
            empty = ir.Constant(self.vector, ir.Undefined)
            single = builder.insert_element(empty, one, ir.Constant(lane, 0))
            lanes = ir.Constant(ir.VectorType(lane, self.channels), [0] * self.channels)
            yield address, builder.shuffle_vector(single, empty, lanes)

    def add_product(self, total, one, other):
        """total + one * other, in one rounding where the machine can."""
        product = self.builder.fmul(one, other, flags=("contract",))
        return self.builder.fadd(total, product, flags=("contract",))


@intrinsic
def read_rows(typing, table, index, share, slot, out, position, corners, channels):  # noqa: ARG001
    """out[position...] = sum over corners of share times row of the table."""

    def write(context, builder, signature, arguments):
        if signature.args[-1].count:
            rows = _Rows(context, builder, signature, arguments)
            table, index, share, slot, out, position, _, _ = rows.data
            total = ir.Constant(rows.vector, [0.0] * rows.channels)
            for address, weight in rows.at_corners(table, index, share, slot):
                total = rows.add_product(total, builder.load(address, align=4), weight)
            builder.store(total, rows.row(out, position), align=4)
        return context.get_dummy_value()

    return types.void(table, index, share, types.int64, out, types.int64, corners, channels), write


@intrinsic
def add_rows(typing, table, index, share, slot, gradient, position, corners, channels):  # noqa: ARG001
    """Row of the table += share times gradient[position...], for all corners."""

    def write(context, builder, signature, arguments):
        if signature.args[-1].count:
            rows = _Rows(context, builder, signature, arguments)
            table, index, share, slot, gradient, position, _, _ = rows.data
            value = builder.load(rows.row(gradient, position), align=4)
            for address, weight in rows.at_corners(table, index, share, slot):
                builder.store(rows.add_product(builder.load(address, align=4), value, weight), address, align=4)
        return context.get_dummy_value()

    return types.void(table, index, share, types.int64, gradient, types.int64, corners, channels), write
