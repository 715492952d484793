import { fileURLToPath } from "node:url";

/** The folder of this client. Tests run as they are compiled, in `build/tests`. */
export const here = fileURLToPath(new URL("../../..", import.meta.url)).replace(/\/$/, "");
/** The folder of the repository. */
export const root = fileURLToPath(new URL("../../../../..", import.meta.url)).replace(/\/$/, "");
