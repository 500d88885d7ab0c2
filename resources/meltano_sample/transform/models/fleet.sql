-- One row for each maker of planes: how many of its planes flew.
select
    manufacturer,
    count(distinct planes.tailnum) as planes
from {{ ref('flights') }} as flights
join {{ ref('planes') }} as planes on planes.tailnum = flights.tailnum
group by manufacturer
