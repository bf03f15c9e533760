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

/** The main roads, corner by corner, and how far they go on behind their corners. */
const CORNERS = [
  [52.5163, 13.3777],
  [52.5186, 13.3762],
  [52.5208, 13.4094],
  [52.5096, 13.4019],
  [52.5074, 13.3904],
] as const;
const BEYOND = 3;

/** Where the cameras hang. */
const POSTS = [
  ['North gate', 52.5204, 13.4042],
  ['Loading bay', 52.5114, 13.4046],
  ['Plant room', 52.5086, 13.3936],
  ['Car park', 52.5176, 13.3806],
] as const;
/** 500 m on this map. */
const SCALE = 98;

function roads(): string[] {
  return CORNERS.map(([lat, lon], index) => {
    const [nextLat, nextLon] = CORNERS[(index + 1) % CORNERS.length]!;
    const at = (share: number) => `${x(lon + (nextLon - lon) * share)},${y(lat + (nextLat - lat) * share)}`;
    return `M${at(-BEYOND)} L${at(1 + BEYOND)}`;
  });
}

/** A quiet street grid, the same on every load: something for the eye to hold on to without a map server. */
function streets(): string[] {
  const lines: string[] = [];
  for (let at = -6; at < 24; at++) lines.push(`M${at * 38 + Math.sin(at * 1.7) * 9},-10 L${at * 38 - 74 + Math.sin(at * 1.7) * 9},${HEIGHT + 10}`);
  for (let at = -3; at < 14; at++) lines.push(`M-10,${at * 34 + Math.cos(at * 2.3) * 7} L${WIDTH + 10},${at * 34 - 42 + Math.cos(at * 2.3) * 7}`);
  return lines;
}

export function Fleet() {
  const [units, setUnits] = useState<Record<string, Unit>>({});
  const grid = useMemo(streets, []);
  const main = useMemo(roads, []);
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
        <path className="park" d="M36,150 L118,138 L128,196 L44,208 Z M452,92 L540,80 L548,128 L458,138 Z" />
        <path className="river" d={`M-10,${HEIGHT * 0.78} C${WIDTH * 0.2},${HEIGHT * 0.62} ${WIDTH * 0.35},${HEIGHT * 0.98} ${WIDTH * 0.55},${HEIGHT * 0.8} S${WIDTH * 0.85},${HEIGHT * 0.55} ${WIDTH + 10},${HEIGHT * 0.66}`} />
        <g className="roads">
          {main.map(line => (
            <path key={line} className="edge" d={line} />
          ))}
          {main.map(line => (
            <path key={line} d={line} />
          ))}
        </g>
        <g className="posts">
          {POSTS.map(([name, latitude, longitude]) => (
            <g key={name} transform={`translate(${x(longitude)} ${y(latitude)})`}>
              <rect x="-8" y="-6" width="16" height="12" rx="3" />
              <path d="M-4.5,-2.8 h5.5 v5.6 h-5.5 z M2,-0.8 l3,-1.8 v5.2 l-3,-1.8 z" />
              <text y="20">{name}</text>
            </g>
          ))}
        </g>
        {shown.map(({ id, trail }, index) => (
          <polyline key={id} className="trail" data-unit={index % 3} points={trail.map(([lon, lat]) => `${x(lon)},${y(lat)}`).join(' ')} />
        ))}
        {shown.map(({ id, latitude, longitude, heading }, index) => (
          <g key={id} className="unit" data-unit={index % 3} style={{ transform: `translate(${x(longitude)}px, ${y(latitude)}px)` }}>
            <circle className="halo" r="16" />
            <path d="M0,-10 L7,8 L0,4.5 L-7,8 Z" transform={`rotate(${heading})`} />
            <text x="15" y="4">
              {id}
            </text>
          </g>
        ))}
        <g className="scale" transform={`translate(${WIDTH / 2 - SCALE / 2} ${HEIGHT - 14})`}>
          <path d={`M0,-5 V0 H${SCALE} V-5`} />
          <text x={SCALE / 2} y="-7">
            500 m
          </text>
        </g>
      </svg>
      {shown.length === 0 && <p className="sr">No unit has told its position yet.</p>}
      <ul className="units">
        {shown.map(({ id, status, speed }, index) => (
          <li key={id} data-unit={index % 3}>
            <i aria-hidden="true" />
            <strong>{id}</strong>
            <span className="duty">{status}</span>
            <span className="num quiet">{Math.round(speed * 3.6)} km/h</span>
          </li>
        ))}
      </ul>
    </Panel>
  );
}
