import { useClient, useEvent, useVideo } from '@wardline/client/react';
import { useState } from 'react';
import { Panel } from './panel';
import { useToast } from './toasts';

const CAMERAS = [
  ['cam-1', 'North gate'],
  ['cam-2', 'Loading bay'],
  ['cam-3', 'Plant room'],
  ['cam-4', 'Car park'],
] as const;

export function Cameras() {
  const [motion, setMotion] = useState<Record<string, number>>({});
  useEvent('video', 'motion:detected', ({ cameraId }) => setMotion(motion => ({ ...motion, [cameraId]: Date.now() })));
  return (
    <Panel name="cameras" title="Cameras" aside={<span className="quiet">{CAMERAS.length} feeds on one connection</span>}>
      <div className="wall">
        {CAMERAS.map(([id, place]) => (
          <Camera key={id} id={id} place={place} motion={motion[id]} />
        ))}
      </div>
    </Panel>
  );
}

function Camera({ id, place, motion }: { id: string; place: string; motion: number | undefined }) {
  const { ref, live, rate, width, height, seq } = useVideo(id);
  const [recording, setRecording] = useState(false);
  const client = useClient();
  const say = useToast();
  const record = async () => {
    setRecording(true);
    try {
      await client.command('recording:start', { cameraId: id, duration: 5 }, 'video');
      await new Promise(done => setTimeout(done, 5000));
      say(`${place}: 5 s recorded`);
    } catch (error) {
      say(`${place}: ${(error as Error).message}`, 'bad');
    }
    setRecording(false);
  };
  const moved = motion !== undefined && Date.now() - motion < 4000;
  return (
    <figure className="camera" data-live={live || undefined} data-motion={moved || undefined}>
      <canvas ref={ref} width={320} height={240} role="img" aria-label={`${place}, camera ${id}: ${live ? 'live' : 'no signal'}`} />
      {!live && <div className="nosignal">{seq > 0 ? 'No signal; last picture held' : 'Waiting for pictures'}</div>}
      {live && <span className="onair" aria-hidden="true">{moved ? 'Motion' : 'Live'}</span>}
      <figcaption>
        <span className="place">{place}</span>
        <span className="num quiet">{live ? `${width}×${height} · ${rate} fps` : id}</span>
        <button className="record" aria-pressed={recording} disabled={recording} onClick={() => void record()}>
          <span aria-hidden="true" className="red" />
          {recording ? 'Recording' : 'Record'}
          <span className="sr"> {place} for 5 seconds</span>
        </button>
      </figcaption>
    </figure>
  );
}
