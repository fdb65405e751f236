// Which rows of a long list are to be drawn.

export interface Rows {
  /** The first one, and the one after the last. */
  from: number;
  to: number;
}

/** `top`: how far the list's beginning is above the view's; negative while it is below. */
export function rowsInView(top: number, height: number, row: number, count: number, spare = 8): Rows {
  if (row <= 0) return { from: 0, to: 0 };
  const from = Math.min(count, Math.max(0, Math.floor(top / row) - spare));
  const to = Math.min(count, Math.max(from, Math.ceil((top + height) / row) + spare));
  return { from, to };
}
