// A chart by uPlot, in the colours of the theme, as wide as its place.
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { useMedia } from "./hooks";
import { theme } from "../lib/prefs";

interface Props {
  label: string;
  height?: number;
  /** Rising times in seconds, then the values of each series. */
  data: uPlot.AlignedData;
  options: (colour: (name: string) => string) => Omit<uPlot.Options, "width" | "height">;
}

export function Plot({ label, height = 260, data, options }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const dark = useMedia("(prefers-color-scheme: dark)");
  useEffect(() => {
    const place = box.current!;
    const style = getComputedStyle(document.documentElement);
    const colour = (name: string) => style.getPropertyValue(`--${name}`).trim();
    const made = options(colour);
    const axis: uPlot.Axis = { stroke: colour("ink-3"), grid: { stroke: colour("line"), width: 1 }, ticks: { show: false }, font: "12px Inter, sans-serif" };
    const plot = new uPlot(
      { ...made, axes: (made.axes ?? [{}, {}]).map((one) => ({ ...axis, ...one })), width: place.clientWidth || 300, height },
      data,
      place,
    );
    const watch = new ResizeObserver(() => plot.setSize({ width: place.clientWidth, height }));
    watch.observe(place);
    return () => {
      watch.disconnect();
      plot.destroy();
    };
  }, [data, height, dark, theme.value]);
  return <div class="plot" ref={box} role="img" aria-label={label} />;
}

export const bars = (): uPlot.Series.PathBuilder => uPlot.paths.bars!({ size: [0.78, 40], radius: 0.15 });
export const curve = (): uPlot.Series.PathBuilder => uPlot.paths.spline!();
