// Prometheus' text, as much of it as the hub writes.

export type Samples = Map<string, number>;

/** Each sample by its name with labels, exactly as it stands there. */
export function parse(text: string): Samples {
  const samples: Samples = new Map();
  for (const line of text.split("\n")) {
    if (!line || line.startsWith("#")) continue;
    const end = line.lastIndexOf(" ");
    const value = Number(line.slice(end + 1));
    if (end > 0 && Number.isFinite(value)) samples.set(line.slice(0, end), value);
  }
  return samples;
}

/** The sum over all labels. */
export function sum(samples: Samples, name: string, label = ""): number {
  let total = 0;
  for (const [key, value] of samples) {
    if ((key === name || key.startsWith(`${name}{`)) && key.includes(label)) total += value;
  }
  return total;
}

/** How much a counter has grown for each second. One that has begun anew (a restart) has grown by what it is. */
export function rate(before: Samples, after: Samples, seconds: number, name: string, label = ""): number {
  if (seconds <= 0) return 0;
  const [was, is] = [sum(before, name, label), sum(after, name, label)];
  return (is >= was ? is - was : is) / seconds;
}
