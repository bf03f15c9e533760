import { useEvent } from '@wardline/client/react';
import { useMemo, useState } from 'react';
import type { AssetPosition, AssetStatus } from '@wardline/client';
import { Panel } from './panel';
import { usePast } from './past';

interface Unit {
  id: string;
  latitude: number;
  longitude: number;
  heading: number;
  speed: number;
  status: string;
  trail: [number, number][];
}

const TRAIL = 24;
/** The part of town that is shown. */
const VIEW = { north: 52.5228, south: 52.5052, west: 13.371, east: 13.416 };
const WIDTH = 600;
const HEIGHT = 390;

const x = (longitude: number) => ((longitude - VIEW.west) / (VIEW.east - VIEW.west)) * WIDTH;
const y = (latitude: number) => ((VIEW.north - latitude) / (VIEW.north - VIEW.south)) * HEIGHT;

/** A quiet street grid, the same on every load: something for the eye to hold on to without a map server. */
function streets(): string[] {
  const lines: string[] = [];
  for (let at = -4; at < 22; at++) {
    const bend = Math.sin(at * 1.7) * 16;
    lines.push(`M${at * 44 + bend},-10 Q${at * 44 - bend},${HEIGHT / 2} ${at * 44 - 60 + bend},${HEIGHT + 10}`);
  }
  for (let at = -1; at < 12; at++) {
    const bend = Math.cos(at * 2.3) * 14;
    lines.push(`M-10,${at * 40 + bend} Q${WIDTH / 2},${at * 40 - bend + 18} ${WIDTH + 10},${at * 40 + 30 + bend}`);
  }
  return lines;
}

export function Fleet() {
  const [units, setUnits] = useState<Record<string, Unit>>({});
  const grid = useMemo(streets, []);
  const change = (id: string, how: (unit: Unit) => Unit) =>
    setUnits(units => ({
      ...units,
      [id]: how(units[id] ?? { id, latitude: NaN, longitude: NaN, heading: 0, speed: 0, status: 'on the way', trail: [] }),
    }));
  const move = ({ assetId, latitude, longitude, heading, speed }: AssetPosition) =>
    change(assetId, unit => ({
      ...unit,
      latitude,
      longitude,
      heading: heading ?? unit.heading,
      speed: speed ?? unit.speed,
      trail: [...unit.trail, [longitude, latitude] as [number, number]].slice(-TRAIL),
    }));
  const turn = ({ assetId, status }: AssetStatus) => change(assetId, unit => ({ ...unit, status }));
  useEvent('dispatch', 'asset_position_updated', move);
  useEvent('dispatch', 'asset_status_changed', turn);
  usePast('dispatch', messages => {
    setUnits({});
    for (const { event, data } of messages) {
      if (event === 'asset_position_updated') move(data as AssetPosition);
      if (event === 'asset_status_changed') turn(data as AssetStatus);
    }
  });
  const shown = Object.values(units)
    .filter(({ latitude }) => !Number.isNaN(latitude))
    .sort((a, b) => a.id.localeCompare(b.id));
  return (
    <Panel name="fleet" title="Fleet" aside={<span className="quiet">{shown.length} units</span>}>
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="xMidYMid slice" role="img" aria-label={`Map with ${shown.length} moving units`}>
        <g className="streets">
          {grid.map(line => (
            <path key={line} d={line} />
          ))}
        </g>
        <path className="river" d={`M-10,${HEIGHT * 0.78} C${WIDTH * 0.2},${HEIGHT * 0.62} ${WIDTH * 0.35},${HEIGHT * 0.98} ${WIDTH * 0.55},${HEIGHT * 0.8} S${WIDTH * 0.85},${HEIGHT * 0.55} ${WIDTH + 10},${HEIGHT * 0.66}`} />
        {shown.map(({ id, trail }, index) => (
          <polyline key={id} className="trail" data-unit={index % 3} points={trail.map(([lon, lat]) => `${x(lon)},${y(lat)}`).join(' ')} />
        ))}
        {shown.map(({ id, latitude, longitude, heading }, index) => (
          <g key={id} className="unit" data-unit={index % 3} style={{ transform: `translate(${x(longitude)}px, ${y(latitude)}px)` }}>
            <circle className="halo" r="17" />
            <path d="M0,-10 L7,8 L0,4.5 L-7,8 Z" transform={`rotate(${heading})`} />
            <text x="15" y="4">
              {id}
            </text>
          </g>
        ))}
      </svg>
      <ul className="units">
        {shown.map(({ id, status, speed }, index) => (
          <li key={id} data-unit={index % 3}>
            <i aria-hidden="true" />
            <strong>{id}</strong>
            <span className="quiet">{status}</span>
            <span className="num quiet">{Math.round(speed * 3.6)} km/h</span>
          </li>
        ))}
      </ul>
    </Panel>
  );
}
