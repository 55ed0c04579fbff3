// What the crate binds of FFmpeg. The constants give names to macros which no tool can read from a header.
#include <errno.h>
#include <stdint.h>

#include <libavcodec/avcodec.h>
#include <libavcodec/bsf.h>
#include <libavfilter/avfilter.h>
#include <libavfilter/buffersink.h>
#include <libavfilter/buffersrc.h>
#include <libavformat/avformat.h>
#include <libavutil/audio_fifo.h>
#include <libavutil/avutil.h>
#include <libavutil/buffer.h>
#include <libavutil/channel_layout.h>
#include <libavutil/display.h>
#include <libavutil/dovi_meta.h>
#include <libavutil/hwcontext.h>
#include <libavutil/imgutils.h>
#include <libavutil/log.h>
#include <libavutil/mastering_display_metadata.h>
#include <libavutil/mem.h>
#include <libavutil/opt.h>
#include <libavutil/pixdesc.h>
#include <libavutil/samplefmt.h>
#include <libswresample/swresample.h>
#include <libswscale/swscale.h>

static const int RUNGS_EOF = AVERROR_EOF;
static const int RUNGS_EXIT = AVERROR_EXIT;
static const int RUNGS_INVALID_DATA = AVERROR_INVALIDDATA;
static const int RUNGS_AGAIN = AVERROR(EAGAIN);
static const int RUNGS_TIMED_OUT = AVERROR(ETIMEDOUT);
static const int RUNGS_IO = AVERROR(EIO);
static const int RUNGS_NO_MEMORY = AVERROR(ENOMEM);
static const int RUNGS_INVALID = AVERROR(EINVAL);
static const int RUNGS_UNKNOWN = AVERROR(ENOSYS);
static const int64_t RUNGS_NO_PTS = AV_NOPTS_VALUE;
static const int RUNGS_CROP_EXACT = AV_FRAME_CROP_UNALIGNED;
static const int RUNGS_SCALE_EXACT = SWS_ACCURATE_RND | SWS_BITEXACT;
static const int RUNGS_SCALE_AREA = SWS_AREA;
static const int RUNGS_SCALE_BICUBIC = SWS_BICUBIC;
static const int RUNGS_SCALE_BILINEAR = SWS_BILINEAR;
static const int RUNGS_SCALE_GAUSS = SWS_GAUSS;
static const int RUNGS_SCALE_LANCZOS = SWS_LANCZOS;
static const int RUNGS_SCALE_NEIGHBOR = SWS_POINT;
static const int RUNGS_SCALE_SPLINE = SWS_SPLINE;
static const int RUNGS_TOLD_DEVICE = AV_CODEC_HW_CONFIG_METHOD_HW_DEVICE_CTX;
