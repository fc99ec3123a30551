// @libsql/client, as browsers and edge workers import it.
import { createClient } from "@libsql/client/web";

import { common } from "./libsql_common.mjs";

export const parts = (place) => common(createClient({ ...place, intMode: "bigint" }));
