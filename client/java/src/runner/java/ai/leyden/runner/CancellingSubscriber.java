package ai.leyden.runner;

import ai.leyden.client.Event;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Flow;

/** Reads a publisher one event at a time, and cancels its subscription where that is asked for. */
final class CancellingSubscriber implements Flow.Subscriber<Event> {
  private final Ask ask;
  private final Answer answer;
  private final CountDownLatch done = new CountDownLatch(1);
  private Flow.Subscription subscription;

  private CancellingSubscriber(Ask ask, Answer answer) {
    this.ask = ask;
    this.answer = answer;
  }

  /** Returns once the events have ended, or are left. */
  static void read(Flow.Publisher<Event> events, Ask ask, Answer answer)
      throws InterruptedException {
    CancellingSubscriber subscriber = new CancellingSubscriber(ask, answer);
    events.subscribe(subscriber);
    subscriber.done.await();
  }

  @Override
  public void onSubscribe(Flow.Subscription begun) {
    subscription = begun;
    subscription.request(1);
  }

  @Override
  public void onNext(Event event) {
    answer.saw(event);
    if (ask.leavesAt(answer)) {
      subscription.cancel();
      answer.left("cancel");
      done.countDown();
      return;
    }
    subscription.request(1);
  }

  @Override
  public void onError(Throwable error) {
    answer.failed(error);
    done.countDown();
  }

  @Override
  public void onComplete() {
    done.countDown();
  }
}
