import type { Metrics as Reading } from '@wardline/client';
import { useEvent } from '@wardline/client/react';
import { useEffect, useRef, useState } from 'react';
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import { Panel } from './panel';
import { usePast } from './past';

const SPAN = 120;

interface Line {
  label: string;
  colour: string;
  read: (reading: Reading) => number | undefined;
  /** Drawn downwards, so that two that are alike do not hide each other. */
  down?: boolean;
}

const PERCENT: Line[] = [
  { label: 'CPU', colour: '--plot-1', read: reading => reading.cpu },
  { label: 'Memory', colour: '--plot-2', read: reading => reading.memory },
  { label: 'Disk', colour: '--plot-3', read: reading => reading.disk },
];
const NETWORK: Line[] = [
  { label: 'In', colour: '--plot-1', read: ({ networkIn }) => networkIn && networkIn / 1024 },
  { label: 'Out', colour: '--plot-2', read: ({ networkOut }) => networkOut && networkOut / 1024, down: true },
];

export function Metrics() {
  const [source, setSource] = useState('');
  useEvent('monitoring', 'metrics:update', reading => setSource(reading.source ?? ''));
  return (
    <Panel name="metrics" title="Metrics" aside={<span className="quiet num">{source && `host ${source}, last 2 min`}</span>}>
      <div className="plots">
        <Plot title="Use of the host" unit="%" lines={PERCENT} max={100} />
        <Plot title="Network of the host" unit="kB/s" lines={NETWORK} />
      </div>
    </Panel>
  );
}

function Plot({ title, unit, lines, max }: { title: string; unit: string; lines: Line[]; max?: number }) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const data = useRef<(number | null)[][]>([[], ...lines.map(() => [])]);
  const [latest, setLatest] = useState<(number | undefined)[]>([]);
  const add = (reading: Reading, timestamp: number) => {
    const [times, ...values] = data.current as [number[], ...(number | null)[][]];
    // What came while the link was down stands at its own time; what came twice, from the past and live, once.
    const at = timestamp / 1000;
    if (times.length > 0 && at <= times.at(-1)!) return;
    times.push(at);
    lines.forEach((line, index) => {
      const value = line.read(reading);
      values[index]!.push(value === undefined ? null : line.down ? -value : value);
    });
    while (times.length > SPAN * 2 || (times.length > 0 && times[0]! < at - SPAN)) {
      times.shift();
      values.forEach(list => list.shift());
    }
    setLatest(lines.map(line => line.read(reading)));
  };
  const draw = () => plot.current?.setData(data.current as uPlot.AlignedData);
  useEvent('monitoring', 'metrics:update', (reading, { timestamp }) => {
    add(reading, timestamp);
    draw();
  });
  usePast('monitoring', messages => {
    const live = data.current.map(list => [...list]);
    const from = live[0]![0] ?? Infinity;
    data.current = [[], ...lines.map(() => [])];
    for (const { event, data, timestamp } of messages) if (event === 'metrics:update' && timestamp / 1000 < from) add(data as Reading, timestamp);
    data.current = data.current.map((list, index) => [...list, ...live[index]!]);
    draw();
  });
  useEffect(() => {
    const element = box.current!;
    const draw = () => {
      plot.current?.destroy();
      const { fontSize } = getComputedStyle(document.documentElement);
      const rem = parseFloat(fontSize) / 16;
      // A canvas knows no variables: an element tells what they are in this theme.
      const colour = (name: string, alpha = 1) => {
        element.style.color = `var(${name})`;
        const { color } = getComputedStyle(element);
        return alpha === 1 ? color : color.replace('rgb(', 'rgba(').replace(')', `, ${alpha})`);
      };
      const axis = { stroke: colour('--quiet'), grid: { stroke: colour('--line'), width: 1 }, ticks: { show: false }, font: `${Math.round(11 * rem)}px Inter Variable, sans-serif` };
      plot.current = new uPlot(
        {
          width: element.clientWidth,
          height: element.clientHeight,
          legend: { show: false },
          cursor: { y: false },
          padding: [8 * rem, 18 * rem, 0, 0],
          scales: {
            x: { range: () => [Date.now() / 1000 - SPAN, Date.now() / 1000] },
            y: {
              range: max
                ? [0, max]
                : (_, low, high) => {
                    const most = Math.max(8, high, -low) * 1.15;
                    return [-most, most];
                  },
            },
          },
          axes: [
            { ...axis, size: 26 * rem, space: 70 * rem, values: (_, splits) => splits.map(at => new Date(at * 1000).toLocaleTimeString([], { minute: '2-digit', second: '2-digit' })) },
            { ...axis, size: 40 * rem, space: 28 * rem, values: (_, splits) => splits.map(value => String(Math.abs(value))) },
          ],
          series: [
            {},
            ...lines.map((line, index) => ({
              stroke: colour(line.colour),
              // Areas over each other would mix to a third colour.
              ...(index === 0 || line.down ? { fill: colour(line.colour, 0.12) } : {}),
              width: 2 * rem,
              spanGaps: true,
              points: { show: false },
            })),
          ],
        },
        data.current as uPlot.AlignedData,
        element,
      );
    };
    draw();
    const resized = new ResizeObserver(() => plot.current?.setSize({ width: element.clientWidth, height: element.clientHeight }));
    resized.observe(element);
    const dark = matchMedia('(prefers-color-scheme: dark)');
    addEventListener('themechange', draw);
    dark.addEventListener('change', draw);
    return () => {
      resized.disconnect();
      removeEventListener('themechange', draw);
      dark.removeEventListener('change', draw);
      plot.current?.destroy();
      plot.current = null;
    };
  }, [lines, max]);
  return (
    <figure className="plot">
      <figcaption>
        <span className="sr">{title}: </span>
        {lines.map((line, index) => (
          <span key={line.label} className="key">
            <span className="name">
              <i aria-hidden="true" style={{ background: `var(${line.colour})` }} />
              {line.label}
            </span>
            <b className="num">{latest[index] === undefined ? '–' : latest[index]!.toFixed(latest[index]! < 10 ? 1 : 0)}</b> <span className="quiet">{unit}</span>
          </span>
        ))}
      </figcaption>
      <div ref={box} className="canvas" aria-hidden="true" />
    </figure>
  );
}
