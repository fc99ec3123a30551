// @libsql/client, for Node.
import { createClient } from "@libsql/client";

import { common } from "./libsql_common.mjs";

export const parts = (place) => common(createClient({ ...place, intMode: "bigint" }));
