-- Grain: one row per bin of time, of width $bin_us, with a round that sold. Prices are shares of the most that anybody
-- could bid: means over the bin's rounds (max: the highest); on_sale, bids, wins: sums. hour: since the window opened.
SELECT
    ((time_us - opens_us) // $bin_us) * $bin_us / 3.6e9 AS hour,
    avg(price_p50) AS price_p50,
    avg(price_p90) AS price_p90,
    max(price_max) AS price_max,
    sum(on_sale)::bigint AS on_sale,
    sum(bids)::bigint AS bids,
    sum(wins)::bigint AS wins
FROM prices, run_window
GROUP BY (time_us - opens_us) // $bin_us, opens_us
ORDER BY hour
