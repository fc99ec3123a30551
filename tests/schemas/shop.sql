-- A shop with a warehouse: what many well-known example databases describe, in our own words.
CREATE TABLE country (code TEXT NOT NULL PRIMARY KEY COLLATE NOCASE CHECK (length(code) > 0), name TEXT NOT NULL UNIQUE) WITHOUT ROWID;
CREATE TABLE currency (code TEXT NOT NULL PRIMARY KEY, digits INTEGER NOT NULL DEFAULT 2) STRICT;
CREATE TABLE region (id INTEGER PRIMARY KEY, name TEXT NOT NULL COLLATE NOCASE UNIQUE, within_id INTEGER REFERENCES region (id) ON DELETE SET NULL);
CREATE INDEX region_within ON region (within_id);
CREATE TABLE territory (id INTEGER PRIMARY KEY, region_id INTEGER NOT NULL REFERENCES region (id), name TEXT NOT NULL);
CREATE UNIQUE INDEX territory_name ON territory (region_id, name COLLATE NOCASE);
CREATE TABLE employee (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  first_name TEXT NOT NULL, last_name TEXT NOT NULL, -- as they are spoken
  full_name TEXT GENERATED ALWAYS AS (first_name || ' ' || last_name) VIRTUAL,
  reports_to INTEGER REFERENCES employee (id) DEFERRABLE INITIALLY DEFERRED,
  hired_at TEXT NOT NULL DEFAULT '2020-01-01', left_at TEXT,
  CONSTRAINT leaves_later CHECK (left_at IS NULL OR left_at >= hired_at)
);
CREATE INDEX employee_boss ON employee (reports_to);
CREATE INDEX employee_name ON employee (last_name COLLATE NOCASE, first_name COLLATE NOCASE DESC);
CREATE TABLE employee_territory (employee_id INTEGER NOT NULL REFERENCES employee (id) ON DELETE CASCADE, territory_id INTEGER NOT NULL REFERENCES territory (id) ON DELETE CASCADE, PRIMARY KEY (employee_id, territory_id)) WITHOUT ROWID;
CREATE INDEX employee_territory_back ON employee_territory (territory_id);
CREATE TABLE customer (id TEXT NOT NULL PRIMARY KEY, company TEXT NOT NULL, contact TEXT, mail TEXT COLLATE NOCASE, rank REAL NOT NULL DEFAULT 0.5);
CREATE UNIQUE INDEX customer_mail ON customer (mail) WHERE mail IS NOT NULL;
CREATE TABLE address (id INTEGER PRIMARY KEY, customer_id TEXT NOT NULL REFERENCES customer (id) ON DELETE CASCADE ON UPDATE CASCADE, country_code TEXT NOT NULL REFERENCES country (code), line TEXT NOT NULL, city TEXT NOT NULL, postcode TEXT);
CREATE INDEX address_customer ON address (customer_id);
CREATE INDEX address_country ON address (country_code);
CREATE TABLE customer_tag (customer_id TEXT NOT NULL REFERENCES customer (id) ON DELETE CASCADE, tag TEXT NOT NULL COLLATE NOCASE, PRIMARY KEY (customer_id, tag));
CREATE TABLE supplier (id INTEGER PRIMARY KEY, company TEXT NOT NULL, country_code TEXT REFERENCES country (code) NOT DEFERRABLE, home_page TEXT);
CREATE INDEX supplier_country ON supplier (country_code);
CREATE TABLE category (id INTEGER PRIMARY KEY, name TEXT NOT NULL, parent_id INTEGER REFERENCES category (id), path TEXT NOT NULL DEFAULT '/', picture BLOB);
CREATE INDEX category_parent ON category (parent_id);
CREATE TABLE product (
  id INTEGER PRIMARY KEY, sku TEXT NOT NULL UNIQUE COLLATE NOCASE, name TEXT NOT NULL, summary TEXT NOT NULL,
  category_id INTEGER NOT NULL REFERENCES category (id), supplier_id INTEGER REFERENCES supplier (id) ON DELETE SET NULL,
  price_cents INTEGER NOT NULL DEFAULT 0 CHECK (price_cents >= 0), price REAL AS (price_cents / 100.0) STORED,
  discontinued INTEGER NOT NULL DEFAULT 0 CHECK (discontinued IN (0, 1))
);
CREATE INDEX product_category ON product (category_id);
CREATE INDEX product_supplier ON product (supplier_id);
CREATE INDEX product_cheap ON product (price_cents DESC) WHERE discontinued = 0 AND price_cents < 1000;
CREATE INDEX product_lower ON product (lower(name));
CREATE VIRTUAL TABLE product_text USING fts5(name, summary, content='product', content_rowid='id', tokenize="unicode61 remove_diacritics 2", prefix='2 3');
CREATE TRIGGER product_text_ai AFTER INSERT ON product BEGIN INSERT INTO product_text (rowid, name, summary) VALUES (new.id, new.name, new.summary); END;
CREATE TRIGGER product_text_ad AFTER DELETE ON product BEGIN INSERT INTO product_text (product_text, rowid, name, summary) VALUES ('delete', old.id, old.name, old.summary); END;
CREATE TRIGGER product_text_au AFTER UPDATE ON product BEGIN
  INSERT INTO product_text (product_text, rowid, name, summary) VALUES ('delete', old.id, old.name, old.summary);
  INSERT INTO product_text (rowid, name, summary) VALUES (new.id, new.name, new.summary);
END;
CREATE TABLE product_picture (product_id INTEGER NOT NULL REFERENCES product (id) ON DELETE CASCADE, place INTEGER NOT NULL, bytes BLOB NOT NULL, PRIMARY KEY (product_id, place DESC)) WITHOUT ROWID;
CREATE TABLE attribute (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE ON CONFLICT IGNORE, unit TEXT NOT NULL DEFAULT '');
CREATE TABLE product_attribute (product_id INTEGER NOT NULL REFERENCES product (id) ON DELETE CASCADE, attribute_id INTEGER NOT NULL REFERENCES attribute (id), value ANY, id INTEGER PRIMARY KEY, UNIQUE (product_id, attribute_id) ON CONFLICT REPLACE) STRICT;
CREATE INDEX product_attribute_back ON product_attribute (attribute_id);
CREATE TABLE price_list (id INTEGER PRIMARY KEY, name TEXT NOT NULL, currency_code TEXT NOT NULL REFERENCES currency (code), starts_at TEXT NOT NULL DEFAULT '2020-01-01');
CREATE INDEX price_list_currency ON price_list (currency_code);
CREATE TABLE price (price_list_id INTEGER NOT NULL REFERENCES price_list (id) ON DELETE CASCADE, product_id INTEGER NOT NULL REFERENCES product (id) ON DELETE CASCADE, cents INTEGER NOT NULL, PRIMARY KEY (price_list_id, product_id));
CREATE INDEX price_product ON price (product_id);
CREATE TABLE warehouse (id INTEGER PRIMARY KEY, name TEXT NOT NULL, country_code TEXT NOT NULL REFERENCES country (code));
CREATE INDEX warehouse_country ON warehouse (country_code);
CREATE VIRTUAL TABLE warehouse_box USING rtree(id, west, east, south, north, +label);
CREATE TABLE shelf (id INTEGER PRIMARY KEY, warehouse_id INTEGER NOT NULL REFERENCES warehouse (id), code TEXT NOT NULL, UNIQUE (warehouse_id, code COLLATE NOCASE));
CREATE TABLE stock (shelf_id INTEGER NOT NULL REFERENCES shelf (id), product_id INTEGER NOT NULL REFERENCES product (id), count INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (shelf_id, product_id)) WITHOUT ROWID;
CREATE INDEX stock_product ON stock (product_id);
CREATE TABLE movement (id INTEGER PRIMARY KEY AUTOINCREMENT, shelf_id INTEGER NOT NULL REFERENCES shelf (id), product_id INTEGER NOT NULL REFERENCES product (id), delta INTEGER NOT NULL, reason TEXT NOT NULL DEFAULT 'count');
CREATE INDEX movement_shelf ON movement (shelf_id);
CREATE INDEX movement_product ON movement (product_id, id DESC);
CREATE TRIGGER movement_counts AFTER INSERT ON movement BEGIN
  INSERT INTO stock (shelf_id, product_id, count) VALUES (new.shelf_id, new.product_id, new.delta)
    ON CONFLICT (shelf_id, product_id) DO UPDATE SET count = count + excluded.count;
END;
CREATE TABLE shipper (id INTEGER PRIMARY KEY, company TEXT NOT NULL, phone TEXT);
CREATE TABLE voucher (code TEXT NOT NULL PRIMARY KEY COLLATE NOCASE, percent INTEGER NOT NULL DEFAULT 5 CHECK (percent BETWEEN 1 AND 100), used_up INTEGER NOT NULL DEFAULT 0);
CREATE TABLE "order" (
  id INTEGER PRIMARY KEY, customer_id TEXT NOT NULL REFERENCES customer (id), employee_id INTEGER REFERENCES employee (id),
  shipper_id INTEGER REFERENCES shipper (id), voucher_code TEXT REFERENCES voucher (code) ON DELETE SET NULL,
  "when" TEXT NOT NULL DEFAULT '2024-01-01', state TEXT NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'paid', 'sent', 'closed')),
  [select] TEXT, `group` TEXT
);
CREATE INDEX order_customer ON "order" (customer_id);
CREATE INDEX order_employee ON "order" (employee_id);
CREATE INDEX order_shipper ON "order" (shipper_id);
CREATE INDEX order_voucher ON "order" (voucher_code);
CREATE INDEX order_open ON "order" ("when") WHERE state = 'open';
CREATE TABLE order_line (order_id INTEGER NOT NULL REFERENCES "order" (id) ON DELETE CASCADE, line INTEGER NOT NULL, product_id INTEGER NOT NULL REFERENCES product (id), count INTEGER NOT NULL DEFAULT 1, cents INTEGER NOT NULL, total AS (count * cents), PRIMARY KEY (order_id, line));
CREATE INDEX order_line_product ON order_line (product_id);
CREATE TABLE invoice (id INTEGER PRIMARY KEY, order_id INTEGER NOT NULL UNIQUE REFERENCES "order" (id), number TEXT NOT NULL UNIQUE, cents INTEGER NOT NULL);
CREATE TABLE payment (id INTEGER PRIMARY KEY, invoice_id INTEGER NOT NULL REFERENCES invoice (id), cents INTEGER NOT NULL, kind TEXT NOT NULL DEFAULT 'card');
CREATE INDEX payment_invoice ON payment (invoice_id);
CREATE TABLE refund (id INTEGER PRIMARY KEY, payment_id INTEGER NOT NULL REFERENCES payment (id), reason TEXT NOT NULL);
CREATE INDEX refund_payment ON refund (payment_id);
CREATE TABLE shipment (id INTEGER PRIMARY KEY, order_id INTEGER NOT NULL REFERENCES "order" (id), shipper_id INTEGER NOT NULL REFERENCES shipper (id), tracking TEXT);
CREATE INDEX shipment_order ON shipment (order_id);
CREATE INDEX shipment_shipper ON shipment (shipper_id);
CREATE TABLE review (id INTEGER PRIMARY KEY, product_id INTEGER NOT NULL REFERENCES product (id) ON DELETE CASCADE, customer_id TEXT NOT NULL REFERENCES customer (id) ON DELETE CASCADE, stars INTEGER NOT NULL DEFAULT 3 CHECK (stars BETWEEN 1 AND 5), body TEXT NOT NULL);
CREATE UNIQUE INDEX review_once ON review (product_id, customer_id);
CREATE INDEX review_customer ON review (customer_id);
CREATE VIRTUAL TABLE review_text USING fts5(body, stars UNINDEXED);
CREATE TABLE wish (customer_id TEXT NOT NULL REFERENCES customer (id) ON DELETE CASCADE, product_id INTEGER NOT NULL REFERENCES product (id) ON DELETE CASCADE, PRIMARY KEY (customer_id, product_id)) WITHOUT ROWID;
CREATE INDEX wish_product ON wish (product_id);
CREATE TABLE setting (name TEXT NOT NULL PRIMARY KEY ON CONFLICT REPLACE, value TEXT);
CREATE VIEW order_total AS SELECT o.id, o.customer_id, sum(l.total) AS cents FROM "order" AS o LEFT JOIN order_line AS l ON l.order_id = o.id GROUP BY o.id;
CREATE VIEW best_customer (customer, cents) AS SELECT c.company, sum(t.cents) FROM customer AS c JOIN order_total AS t ON t.customer_id = c.id GROUP BY c.id HAVING sum(t.cents) > 0;
CREATE VIEW product_list AS WITH cheap AS (SELECT product_id, min(cents) AS cents FROM price GROUP BY product_id) SELECT p.*, c.cents AS cheapest, rank() OVER (PARTITION BY category_id ORDER BY p.price) AS place FROM product AS p LEFT OUTER JOIN cheap AS c ON c.product_id = p.id;
CREATE TRIGGER order_closed BEFORE UPDATE OF state ON "order" FOR EACH ROW WHEN old.state = 'closed' BEGIN SELECT RAISE(ABORT, 'a closed order stays as it is; "open" another'); END;
CREATE TRIGGER voucher_spent AFTER INSERT ON "order" WHEN new.voucher_code IS NOT NULL BEGIN UPDATE voucher SET used_up = used_up + 1 WHERE code = new.voucher_code; END;
