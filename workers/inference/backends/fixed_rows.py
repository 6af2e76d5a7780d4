"""Graphs that take one number of rows only."""


def rows_mistake(rows: int, batch_sizes: tuple[int, ...]) -> str | None:
    """What is wrong with a graph for exactly so many rows; None where the model is run with no other number."""
    if batch_sizes == (rows,):
        return None
    return (
        f"was made for exactly {rows} rows: make it for any number, or say so with max_batch_size: {rows} and "
        f"dynamic_batching.allowed_batch_sizes: [{rows}]"
    )
