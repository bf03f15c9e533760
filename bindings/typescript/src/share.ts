// A file of its own: loaded by who shares, not by who imports the package.
export { share, type Kit } from './share/share.js';
