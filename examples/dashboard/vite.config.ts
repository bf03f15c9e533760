import react from '@vitejs/plugin-react';
import { defineConfig } from 'vite';

export default defineConfig({
  plugins: [react()],
  // The package is linked from this checkout and brings a React of its own for its tests.
  resolve: { dedupe: ['react', 'react-dom', '@wardline/client'] },
  // Pre-bundling would move the code away from the WebAssembly beside it.
  optimizeDeps: { exclude: ['@wardline/client'] },
  build: { target: 'es2022', assetsInlineLimit: 0 },
});
