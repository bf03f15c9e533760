import { createContext, useCallback, useContext, useRef, useState, type ReactNode } from 'react';

type Say = (words: string, tone?: 'plain' | 'bad') => void;
const Context = createContext<Say>(() => {});

/** Says something for a few seconds, to eyes and to screen readers. */
export const useToast = (): Say => useContext(Context);

export function Toasts({ children }: { children: ReactNode }) {
  const [toasts, setToasts] = useState<{ id: number; words: string; tone: string }[]>([]);
  const next = useRef(1);
  const say = useCallback<Say>((words, tone = 'plain') => {
    const id = next.current++;
    setToasts(toasts => [...toasts.slice(-2), { id, words, tone }]);
    setTimeout(() => setToasts(toasts => toasts.filter(toast => toast.id !== id)), 4500);
  }, []);
  return (
    <Context.Provider value={say}>
      {children}
      <div className="toasts" role="status" aria-live="polite">
        {toasts.map(({ id, words, tone }) => (
          <div key={id} className="toast" data-tone={tone}>
            {words}
          </div>
        ))}
      </div>
    </Context.Provider>
  );
}
