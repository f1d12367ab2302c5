ALTER TABLE "customers" ADD COLUMN "email" text;--> statement-breakpoint
CREATE INDEX "orders_status_idx" ON "orders" USING btree ("status");--> statement-breakpoint
UPDATE "customers" SET "email" = lower("name") || '@example.com' WHERE "email" IS NULL
--> statement-breakpoint
DROP TABLE "sessions" CASCADE;
