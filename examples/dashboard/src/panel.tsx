import { useId, type ReactNode } from 'react';

/** A titled part of the room; `aside` stands at the right of the title. */
export function Panel({ name, title, aside, children }: { name: string; title: string; aside?: ReactNode; children: ReactNode }) {
  const id = useId();
  return (
    <section className={`panel ${name}`} id={name} tabIndex={-1} aria-labelledby={id}>
      <div className="bar">
        <h2 id={id}>{title}</h2>
        {aside && <div className="aside">{aside}</div>}
      </div>
      {children}
    </section>
  );
}
