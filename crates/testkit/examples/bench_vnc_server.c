/* The peer of `cargo xtask bench kvm`: libvncserver with a moving picture, whose first pixels say when it was drawn. Arguments: port. */
#include <rfb/rfb.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

enum { WIDTH = 1920, HEIGHT = 1080, PART_WIDTH = 640, PART_HEIGHT = 360, EVERY_US = 33333 };

static uint64_t now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

int main(int count, char **words) {
    rfbScreenInfoPtr screen = rfbGetScreen(&count, words, WIDTH, HEIGHT, 8, 3, 4);
    screen->frameBuffer = calloc((size_t)WIDTH * HEIGHT, 4);
    /* The pixels that the client asks for, or the two that say when they were drawn are turned round on their way. */
    screen->serverFormat.redShift = 16;
    screen->serverFormat.greenShift = 8;
    screen->serverFormat.blueShift = 0;
    screen->port = atoi(words[1]);
    screen->ipv6port = 0;
    screen->listenInterface = htonl(INADDR_LOOPBACK);
    screen->alwaysShared = TRUE;
    screen->deferUpdateTime = 0;
    /* Its own pointer would be drawn over those two pixels. */
    screen->cursor = NULL;
    rfbInitServer(screen);
    uint32_t *pixels = (uint32_t *)screen->frameBuffer;
    uint64_t due = now_us();
    for (uint32_t frame = 0; rfbIsActive(screen);) {
        uint64_t now = now_us();
        if (now >= due) {
            due = now + EVERY_US;
            frame++;
            for (int y = 0; y < PART_HEIGHT; y++)
                for (int x = 0; x < PART_WIDTH; x++)
                    pixels[y * WIDTH + x] = ((uint32_t)(y * PART_WIDTH + x) + frame) * 2654435761u >> 8;
            uint64_t stamp = now_us();
            pixels[0] = stamp & 0xffffff;
            pixels[1] = stamp >> 24 & 0xffffff;
            rfbMarkRectAsModified(screen, 0, 0, PART_WIDTH, PART_HEIGHT);
        }
        rfbProcessEvents(screen, due > now ? (long)(due - now) : 0);
    }
    return 0;
}
