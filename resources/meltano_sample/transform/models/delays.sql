-- One row for each airline: its flights, and their mean delay at arrival in minutes.
select
    carrier,
    count(*) as flights,
    avg(arr_delay) as mean_delay
from {{ ref('flights') }}
where arr_delay is not null
group by carrier
