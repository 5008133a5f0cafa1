"""What is promised elsewhere, on a loop that cannot watch descriptors: the tests are those of the other files."""

# ruff: noqa: F401  # pytest runs what is found here

from test_asyncio_integration import (
    test_a_tight_publish_loop_lets_others_run,
    test_a_tight_reader_lets_others_run,
    test_cancelled_at_the_very_moment_of_arrival,
)
from test_flow import test_a_client_with_full_queues_stays_alive, test_a_library_client_answers_pings
from test_lifecycle import (
    test_a_closed_bus_says_so,
    test_closed_meanwhile,
    test_closed_while_iterated,
    test_drain_delivers_what_is_queued,
    test_leaving_the_block_flushes,
    test_leaving_with_unsent_events_warns_and_keeps_the_exception,
)
from test_loops import (
    test_a_bus_left_open_by_a_finished_loop,
    test_a_forgotten_bus_is_closed,
    test_forgotten_subscriptions_are_ended,
    test_publish_nowait_from_eight_threads,
    test_two_runs_in_a_row,
)
from test_original_broker import (
    original,
    test_a_broker_that_comes_back_is_dialled_again,
    test_a_busy_loop_costs_no_connection,
    test_a_proof_that_is_not_taken,
    test_every_split_of_a_frame,
    test_nothing_can_be_published_and_the_error_says_why,
    test_the_token_is_proved_in_the_brokers_order,
    test_what_is_subscribed_is_matched_here,
    test_what_it_sent_arrives_wherever_it_is_split,
    test_without_reconnect_the_end_is_the_end,
)
from test_overflow import test_block_on_both_sides_loses_nothing, test_fifty_clients, test_send_buffer_is_bounded
from test_pubsub import (
    test_each_subscription_gets_each_event,
    test_first_in_first_out_per_publisher,
    test_publish_many,
    test_unsubscribe_ends_it_and_nothing_else,
)
from test_reconnect import (
    test_connect_waits_for_the_broker,
    test_kill_and_restart,
    test_waiting_calls_learn_of_the_loss,
    test_without_reconnect_the_loss_is_final,
)
